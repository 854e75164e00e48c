/** What fits into an avatar of a name: the first letters of its first and its last word. */
export function initials(name: string): string {
  const letters = name.split(" ").map((word) => [...word][0] ?? "");
  return `${letters[0] ?? ""}${letters.length > 1 ? (letters.at(-1) ?? "") : ""}`.toLocaleUpperCase();
}
