/** People are told apart by one of these many colours; the style sheet defines them as `--person-0` onwards. */
export const PALETTE_SIZE = 8;

/** A number from somebody else's message or storage as one of ours. */
export function paletteIndex(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value % PALETTE_SIZE : 0;
}

export function personColour(index: number): string {
  return `var(--person-${paletteIndex(index)})`;
}
