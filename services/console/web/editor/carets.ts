import { EditorSelection, type EditorState, StateEffect, StateField, type Extension } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, type LayerMarker, RectangleMarker, layer } from "@codemirror/view";
import { personColour } from "../presence/palette";

/** Somebody else's selection; `head` is where their caret stands. */
export type Caret = { id: string; name: string; colour: number; anchor: number; head: number };

export const setCarets = StateEffect.define<readonly Caret[]>();

/** The others' carets, moved along with the text until their owners say where they are now. */
const carets = StateField.define<readonly Caret[]>({
  create: () => [],
  update: (before, transaction) => {
    const told = transaction.effects.findLast((effect) => effect.is(setCarets));
    if (told !== undefined) return told.value as readonly Caret[];
    if (!transaction.docChanged) return before;
    const { changes } = transaction;
    return before.map((caret) => ({ ...caret, anchor: changes.mapPos(caret.anchor), head: changes.mapPos(caret.head) }));
  },
  provide: (field) => EditorView.decorations.from(field, selectionMarks),
});

function selectionMarks(all: readonly Caret[]): DecorationSet {
  const ranges = all.flatMap(({ anchor, head, colour }) => {
    if (anchor === head) return [];
    const mark = Decoration.mark({
      class: "other-selection",
      attributes: { style: `--person: ${personColour(colour)}` },
    });
    return [mark.range(Math.min(anchor, head), Math.max(anchor, head))];
  });
  return Decoration.set(ranges, true);
}

/**
 * A caret drawn above the text. Not a widget inside it: that would break up the browser's own text nodes, and with
 * them spell checking and input methods, whenever somebody else moves.
 */
class CaretMarker implements LayerMarker {
  readonly #caret: Caret;
  readonly #place: RectangleMarker;

  constructor(caret: Caret, place: RectangleMarker) {
    this.#caret = caret;
    this.#place = place;
  }

  eq(other: LayerMarker): boolean {
    if (!(other instanceof CaretMarker)) return false;
    const { id, name, colour, head } = other.#caret;
    const own = this.#caret;
    const isSamePerson = id === own.id && name === own.name && colour === own.colour;
    return isSamePerson && head === own.head && this.#place.eq(other.#place);
  }

  draw(): HTMLElement {
    const element = document.createElement("div");
    element.className = "other-caret";
    element.append(document.createElement("span"));
    this.#show(element);
    return element;
  }

  update(element: HTMLElement, before: LayerMarker): boolean {
    if (!(before instanceof CaretMarker) || before.#caret.id !== this.#caret.id) return false;
    this.#show(element);
    return true;
  }

  #show(element: HTMLElement): void {
    const { name, colour, head } = this.#caret;
    const { left, top, height } = this.#place;
    element.style.cssText = `left:${left}px;top:${top}px;height:${height}px;--person:${personColour(colour)}`;
    element.dataset["name"] = name;
    element.dataset["position"] = `${head}`;
    const flag = element.firstElementChild;
    if (flag === null) return;
    flag.textContent = name;
    // The name shows itself at every movement and then steps back; `getAnimations` restarts that without a reflow.
    for (const animation of flag.getAnimations()) {
      animation.cancel();
      animation.play();
    }
  }
}

const caretLayer = layer({
  above: true,
  class: "other-carets",
  update: (update) => update.docChanged || update.state.field(carets) !== update.startState.field(carets),
  markers: (view) =>
    view.state.field(carets).flatMap((caret) => {
      const place = RectangleMarker.forRange(view, "", EditorSelection.cursor(within(caret.head, view.state)))[0];
      return place === undefined ? [] : [new CaretMarker(caret, place)];
    }),
});

function within(position: number, state: EditorState): number {
  return Math.min(Math.max(0, position), state.doc.length);
}

export function otherCarets(): Extension {
  return [carets, caretLayer];
}
