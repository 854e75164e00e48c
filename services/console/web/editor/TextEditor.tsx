import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { EditorState } from "@codemirror/state";
import { EditorView, drawSelection, keymap, placeholder } from "@codemirror/view";
import { useEffect, useRef } from "preact/hooks";
import { read } from "../document/content";
import type { Session } from "../document/session";
import { otherCarets } from "./carets";
import { editorText } from "./patches";
import { sharedPlaces } from "./places";
import { sharedText } from "./sharedText";

type Props = {
  session: Session;
  /** The document's text is not a text; it can be looked at elsewhere but not edited here. */
  isForeign: boolean;
};

export function TextEditor({ session, isForeign }: Props) {
  const place = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (place.current === null) return undefined;
    const { handle, edits, presence } = session;
    const view = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: editorText(read(handle.doc()).text),
        extensions: [
          sharedText(handle, edits),
          sharedPlaces(handle, presence),
          otherCarets(),
          history(),
          drawSelection(),
          EditorView.lineWrapping,
          // The page scrolls below its header.
          EditorView.scrollMargins.of(() => ({ top: 90, bottom: 32 })),
          EditorState.readOnly.of(isForeign),
          placeholder("Write something. Everyone with the link sees it as you type."),
          EditorView.contentAttributes.of({
            "aria-label": "Document text",
            spellcheck: "true",
            autocorrect: "on",
            autocapitalize: "sentences",
          }),
          keymap.of([...defaultKeymap, ...historyKeymap]),
          // An edit that does not reach the document must not look as if it did.
          EditorView.exceptionSink.of(reportError),
        ],
      }),
    });
    return () => view.destroy();
  }, [session, isForeign]);

  return <div class="text-editor" ref={place} />;
}
