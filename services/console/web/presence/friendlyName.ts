const QUALITIES = [
  "Amber", "Bold", "Brisk", "Bright", "Calm", "Clever", "Copper", "Coral", "Eager", "Early", "Fair", "Gentle", "Golden",
  "Hazel", "Indigo", "Ivory", "Jade", "Kind", "Lively", "Lucky", "Mellow", "Merry", "Misty", "Nimble", "Noble", "Olive",
  "Patient", "Quick", "Quiet", "Russet", "Sage", "Silver", "Sunny", "Swift", "Tidy", "Velvet", "Warm", "Wise",
];

const CREATURES = [
  "Badger", "Bison", "Crane", "Curlew", "Dolphin", "Falcon", "Finch", "Fox", "Gecko", "Hare", "Hedgehog", "Heron",
  "Ibex", "Jay", "Kestrel", "Lark", "Lynx", "Magpie", "Marten", "Newt", "Orca", "Osprey", "Otter", "Owl", "Panda",
  "Plover", "Puffin", "Raven", "Robin", "Seal", "Sparrow", "Stork", "Swallow", "Tern", "Vole", "Walrus", "Wren",
];

/** A name for somebody who has not chosen one yet. */
export function friendlyName(random: () => number = Math.random): string {
  return `${pick(QUALITIES, random)} ${pick(CREATURES, random)}`;
}

function pick(words: readonly string[], random: () => number): string {
  return words[Math.floor(random() * words.length)] ?? "Someone";
}
