import { useLayoutEffect, useRef } from "preact/hooks";
import { replacement } from "../editor/patches";

type Props = {
  label: string;
  value: string;
  isReadOnly: boolean;
  onEdit: (value: string) => void;
  class?: string;
  placeholder?: string;
  onFocus?: () => void;
  onBlur?: () => void;
};

/** A line of text that several people may edit at once: their edits leave the own caret at its word. */
export function SharedLine({ label, value, isReadOnly, onEdit, class: className, placeholder, onFocus, onBlur }: Props) {
  const input = useRef<HTMLInputElement>(null);

  // The element's value is set here and not by rendering, which would send the caret to the end.
  useLayoutEffect(() => {
    const element = input.current;
    if (element === null) return;
    const change = replacement(element.value, value);
    if (change === null) return;
    const isFocused = document.activeElement === element;
    const { selectionStart, selectionEnd } = element;
    element.value = value;
    if (!isFocused) return;
    const moved = (at: number | null): number => {
      if (at === null || at <= change.from) return at ?? value.length;
      return at >= change.to ? at + change.insert.length - (change.to - change.from) : change.from + change.insert.length;
    };
    element.setSelectionRange(moved(selectionStart), moved(selectionEnd));
  }, [value]);

  return (
    <input
      ref={input}
      type="text"
      class={className}
      aria-label={label}
      placeholder={placeholder}
      readOnly={isReadOnly}
      onInput={(event) => onEdit(event.currentTarget.value)}
      onFocus={onFocus}
      onBlur={onBlur}
      onKeyDown={(event) => {
        if (event.key === "Enter" && !event.isComposing) event.currentTarget.blur();
      }}
    />
  );
}
