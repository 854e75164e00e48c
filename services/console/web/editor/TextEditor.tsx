import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
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
  /** It can be looked at but not edited: the document's text is not a text, or whoever is here may only view. */
  isReadOnly: boolean;
};

const editing = new Compartment();

function editingMode(isReadOnly: boolean): Extension {
  return [
    EditorState.readOnly.of(isReadOnly),
    EditorView.contentAttributes.of({ "aria-readonly": `${isReadOnly}` }),
    placeholder(isReadOnly ? "Nothing is written here yet." : "Write something. Whoever has access sees it as you type."),
  ];
}

export function TextEditor({ session, isReadOnly }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const editor = useRef<EditorView | null>(null);

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
          editing.of(editingMode(isReadOnly)),
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
    editor.current = view;
    return () => {
      editor.current = null;
      view.destroy();
    };
    // What may be done changes below, in place: the caret and the undo history stay.
  }, [session]);

  useEffect(() => {
    editor.current?.dispatch({ effects: editing.reconfigure(editingMode(isReadOnly)) });
  }, [session, isReadOnly]);

  return <div class="text-editor" ref={place} />;
}
