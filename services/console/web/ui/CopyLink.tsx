import type { AutomergeUrl } from "@automerge/automerge-repo/slim";
import { useSignal } from "@preact/signals";
import { linkTo } from "../document/link";
import { CheckIcon, LinkIcon } from "./icons";

const CONFIRMATION_MS = 1_800;

export function CopyLink({ url }: { url: AutomergeUrl }) {
  const isCopied = useSignal(false);
  const copy = async (): Promise<void> => {
    if (!(await copyText(linkTo(url)))) {
      prompt("The link to this document:", linkTo(url));
      return;
    }
    isCopied.value = true;
    setTimeout(() => {
      isCopied.value = false;
    }, CONFIRMATION_MS);
  };
  return (
    <button type="button" class="button" aria-label="Copy link" onClick={() => void copy()}>
      {isCopied.value ? <CheckIcon /> : <LinkIcon />}
      <span aria-live="polite">{isCopied.value ? "Copied" : "Copy link"}</span>
    </button>
  );
}

/** Pages that came over plain HTTP from another machine have no clipboard; then the person copies by hand. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
