import { effect } from "@preact/signals";
import { render } from "preact";
import { Door } from "./access/door";
import { adoptToken } from "./access/token";
import { Workspace } from "./document/workspace";
import { Identity } from "./presence/identity";
import { openRepository } from "./sync/repository";
import { App } from "./ui/App";
import { Failure } from "./ui/Failure";
import { TokenGate } from "./ui/TokenGate";
import "./styles/index.css";

const root = document.getElementById("app");
if (root === null) throw new Error("the page has no #app");

adoptToken();
try {
  const door = new Door();
  await door.knock();
  if (!door.isOpen.peek()) {
    render(<TokenGate door={door} />, root);
    await opened(door);
  }
  const workspace = new Workspace(await openRepository(door), new Identity(), door);
  render(<App workspace={workspace} />, root);
  await workspace.follow();
} catch (error) {
  console.error(error);
  render(<Failure error={error} />, root);
}

function opened(door: Door): Promise<void> {
  return new Promise((resolve) => {
    effect(function () {
      if (!door.isOpen.value) return;
      resolve();
      this.dispose();
    });
  });
}
