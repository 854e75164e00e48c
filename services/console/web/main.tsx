import { render } from "preact";
import { Workspace } from "./document/workspace";
import { Identity } from "./presence/identity";
import { adoptToken } from "./server";
import { openRepository } from "./sync/repository";
import { App } from "./ui/App";
import { Failure } from "./ui/Failure";
import "./styles/index.css";

const root = document.getElementById("app");
if (root === null) throw new Error("the page has no #app");

adoptToken();
try {
  const workspace = new Workspace(await openRepository(), new Identity());
  render(<App workspace={workspace} />, root);
  await workspace.follow();
} catch (error) {
  console.error(error);
  render(<Failure error={error} />, root);
}
