import { useSignal } from "@preact/signals";
import { CheckIcon, LinkIcon } from "./icons";

const CONFIRMATION_MS = 1_800;

export function CopyLink({ link, label }: { link: string; label: string }) {
  const isCopied = useSignal(false);
  const copy = async (): Promise<void> => {
    if (!(await copyText(link))) {
      prompt("The link:", link);
      return;
    }
    isCopied.value = true;
    setTimeout(() => {
      isCopied.value = false;
    }, CONFIRMATION_MS);
  };
  return (
    <button type="button" class="button" aria-label={label} onClick={() => void copy()}>
      {isCopied.value ? <CheckIcon /> : <LinkIcon />}
      <span aria-live="polite">{isCopied.value ? "Copied" : label}</span>
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
