import { EditorState, StateEffect, StateField } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, WidgetType } from "@codemirror/view";
import { useEffect, useRef } from "preact/hooks";
import type { TextDifference } from "../history/difference";
import type { Moment } from "../history/history";
import { personColour } from "../presence/palette";
import { editorText, replacement } from "./patches";

const setMarks = StateEffect.define<DecorationSet>();

const marks = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update: (before, transaction) => transaction.effects.findLast((effect) => effect.is(setMarks))?.value ?? before,
  provide: (field) => EditorView.decorations.from(field),
});

/** Shows where a change removed text. */
class RemovalMark extends WidgetType {
  override eq(): boolean {
    return true;
  }

  toDOM(): HTMLElement {
    const element = document.createElement("span");
    element.className = "past-removed";
    return element;
  }
}

function marksOf({ inserted, removedAt }: TextDifference): DecorationSet {
  const added = Decoration.mark({ class: "past-inserted" });
  const removed = Decoration.widget({ widget: new RemovalMark(), side: 1 });
  return Decoration.set(
    [...inserted.map(({ from, to }) => added.range(from, to)), ...removedAt.map((at) => removed.range(at))],
    true,
  );
}

type Props = { moment: Moment; colour: number };

/** The text at a moment of the past: to be read and copied from, never edited. */
export function PastText({ moment, colour }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);

  useEffect(() => {
    if (place.current === null) return undefined;
    const editor = new EditorView({
      parent: place.current,
      state: EditorState.create({
        extensions: [
          EditorState.lineSeparator.of("\n"),
          EditorState.readOnly.of(true),
          EditorView.editable.of(false),
          EditorView.lineWrapping,
          // The page scrolls below its header and above the history bar.
          EditorView.scrollMargins.of(() => ({ top: 90, bottom: 150 })),
          EditorView.contentAttributes.of({ "aria-label": "Document text in the past", "aria-readonly": "true", tabindex: "0" }),
          marks,
        ],
      }),
    });
    view.current = editor;
    return () => editor.destroy();
  }, []);

  useEffect(() => {
    const editor = view.current;
    if (editor === null) return;
    const { content, difference } = moment;
    const change = replacement(editor.state.sliceDoc(), content.text);
    const touched = difference.inserted[0]?.from ?? difference.removedAt[0];
    editor.dispatch({
      changes: change === null ? [] : { ...change, insert: editorText(change.insert) },
      effects: [
        setMarks.of(marksOf(difference)),
        ...(touched === undefined ? [] : [EditorView.scrollIntoView(touched)]),
      ],
    });
  }, [moment]);

  return <div class="text-editor past-text" ref={place} style={{ "--person": personColour(colour) }} />;
}
