import * as A from "@automerge/automerge/slim";
import type { DocHandle } from "@automerge/automerge-repo/slim";
import { type Extension, StateEffect } from "@codemirror/state";
import { EditorView, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import { effect } from "@preact/signals";
import { type Content, TEXT_PATH, read } from "../document/content";
import type { Presence } from "../presence/presence";
import type { Person } from "../presence/roster";
import { type Caret, setCarets } from "./carets";

/** Tells the others where the own selection is, and shows theirs in the editor. */
export function sharedPlaces(handle: DocHandle<Content>, presence: Presence): Extension {
  return ViewPlugin.define((view) => {
    let isDue = false;
    /** Not at once: the editor may be in the middle of an update, in which it takes no other. */
    const showSoon = (): void => {
      if (isDue) return;
      isDue = true;
      queueMicrotask(() => {
        isDue = false;
        view.dispatch({ effects: setCarets.of(caretsIn(handle.doc(), presence.people.peek())) as StateEffect<unknown> });
      });
    };
    const stop = effect(() => {
      void presence.people.value;
      showSoon();
    });
    // A caret may stand at a character that is still on its way here.
    handle.on("heads-changed", showSoon);
    return {
      update: (update: ViewUpdate) => {
        if (update.selectionSet || update.docChanged || update.focusChanged) tellPlace(update.view, handle, presence);
      },
      destroy: () => {
        stop();
        handle.off("heads-changed", showSoon);
      },
    };
  });
}

function tellPlace(view: EditorView, handle: DocHandle<Content>, presence: Presence): void {
  const doc = handle.doc();
  const { anchor, head } = view.state.selection.main;
  // A document without a text has no characters to stand at.
  if (!view.hasFocus || typeof doc.text !== "string") return presence.moveTo({ at: "page" });
  const cursor = (position: number): A.Cursor =>
    A.getCursor(doc, [...TEXT_PATH], position < read(doc).text.length ? position : "end");
  presence.moveTo({ at: "text", anchor: cursor(anchor), head: cursor(head) });
}

function caretsIn(doc: A.Doc<Content>, people: readonly Person[]): Caret[] {
  return people.flatMap(({ id, author, place, isAway }) => {
    if (place.at !== "text" || isAway) return [];
    try {
      const [anchor, head] = [place.anchor, place.head].map((at) => A.getCursorPosition(doc, [...TEXT_PATH], at));
      return anchor === undefined || head === undefined ? [] : [{ id, ...author, anchor, head }];
    } catch {
      // Their character is not here yet; the change that brings it asks again.
      return [];
    }
  });
}
