import type { DocHandle, DocHandleChangePayload } from "@automerge/automerge-repo/slim";
import { Annotation, EditorState, type Extension, Transaction } from "@codemirror/state";
import { EditorView, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import { type Content, TEXT_PATH, read } from "../document/content";
import type { Edits, Splice } from "../document/edits";
import { editorText, patchesToChange, replacement } from "./patches";

/** Marks transactions that bring the document's changes into the editor; they must not go back. */
const fromDocument = Annotation.define<true>();

/**
 * Keeps an editor and the text of a document equal, in both directions.
 *
 * (Not the ready-made plugin: it puts other people's edits into the undo history, so that undo would take back their
 * words, and it counts a "\r\n" as one character where automerge counts two.)
 */
export function sharedText(handle: DocHandle<Content>, edits: Edits): Extension {
  class SharedText {
    readonly #view: EditorView;
    #isOwnEdit = false;

    constructor(view: EditorView) {
      this.#view = view;
      handle.on("change", this.#onDocumentChange);
    }

    update(update: ViewUpdate): void {
      const splices = update.transactions.filter((transaction) => !transaction.annotation(fromDocument)).flatMap(toSplices);
      if (splices.length === 0) return;
      this.#isOwnEdit = true;
      try {
        edits.spliceText(splices);
      } finally {
        this.#isOwnEdit = false;
      }
    }

    destroy(): void {
      handle.off("change", this.#onDocumentChange);
    }

    readonly #onDocumentChange = ({ doc, patches }: DocHandleChangePayload<Content>): void => {
      if (this.#isOwnEdit) return;
      const { state } = this.#view;
      const text = read(doc).text;
      let changes = patchesToChange(patches, TEXT_PATH, state.doc.length);
      if (changes === null || changes.newLength !== text.length) {
        const whole = replacement(state.sliceDoc(), text);
        changes = state.changes(whole === null ? [] : { ...whole, insert: editorText(whole.insert) });
      }
      if (changes.empty) return;
      this.#view.dispatch({ changes, annotations: [fromDocument.of(true), Transaction.addToHistory.of(false)] });
    };
  }

  return [
    // Without this the editor would take "\r\n" and "\r" for line breaks too, and its offsets would not be automerge's.
    EditorState.lineSeparator.of("\n"),
    EditorView.clipboardInputFilter.of((text) => text.replace(/\r\n?/g, "\n")),
    ViewPlugin.fromClass(SharedText),
  ];
}

function toSplices(transaction: Transaction): Splice[] {
  const splices: Splice[] = [];
  // `fromB` counts in the new text, where the changes before this one are already made: exactly a splice's place.
  transaction.changes.iterChanges((fromA, toA, fromB, _toB, inserted) => {
    splices.push({ at: fromB, remove: toA - fromA, insert: inserted.toString() });
  });
  return splices;
}
