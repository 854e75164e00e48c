// Makes and checks the frames in this folder with the encoder and decoder of the stock client. See README.md.
//   node vectors.mjs make    writes stock-*.hex
//   node vectors.mjs check   decodes every ours-*.hex and compares it with what the stock one of that name says
import assert from "node:assert/strict"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { cbor } from "@automerge/automerge-repo/slim"
import { Encoder } from "cbor-x"

const bytes = (n, first) => Uint8Array.from({ length: n }, (_, i) => (first + i) & 0xff)
const storageId = "dda9df85-f9ec-4ee8-82d0-a5e7f719e227"
const other = "0e91f015-a0bb-4dd9-bb90-7e1b11ac7dc2"
const documentId = "2j9knpCseyhnK8izDmLpGP5WMdZQ"
const heads = ["66Gdib3djpvsK1AfCyz3SdZ3Tb6ardXh1kqfiuoaZfdUXDXmz", "2cPxgpDBGnrDbiFUS3dBxF7Ey5rUxYDS5SHdDkWNpT6Ng4Xiaf"]
const timestamp = 1795435820437
const sync = { type: "sync", targetId: "server", data: bytes(200, 0x42), documentId, senderId: "alice" }

// The order of the keys is the stock client's. `undefined` is what it has for things it does not have.
const messages = {
  "join": { type: "join", senderId: "alice", peerMetadata: { storageId, isEphemeral: false }, supportedProtocolVersions: ["1"] },
  "join-without-storage": { type: "join", senderId: "bob", peerMetadata: { storageId: undefined, isEphemeral: true }, supportedProtocolVersions: ["1"] },
  "join-bare": { type: "join", senderId: "carol", peerMetadata: {} },
  "peer": { type: "peer", senderId: "server", peerMetadata: { storageId, isEphemeral: false }, selectedProtocolVersion: "1", targetId: "alice" },
  "error": { type: "error", senderId: "server", message: "unsupported protocol version", targetId: "alice" },
  "leave": { type: "leave", senderId: "alice" },
  "request": { type: "request", targetId: "server", documentId, data: bytes(10, 0x42), senderId: "bob" },
  "sync": sync,
  "sync-with-a-long-document-id": { ...sync, documentId: "aVWevgmTBPsiafprd4j8PQMtQATeAqftfTS3W7CZ8rBDZs3RS1t7ES9rtu3GCSkhN52P5W3jS9PTThVWEzKur2qkf2z74", data: bytes(3, 1) },
  "doc-unavailable": { type: "doc-unavailable", documentId, targetId: "server", senderId: "alice" },
  "ephemeral": { type: "ephemeral", targetId: "server", documentId, data: bytes(7, 0xb9), count: 1, sessionId: "0ccvoojq34vg", senderId: "alice" },
  "ephemeral-with-a-large-count": { type: "ephemeral", targetId: "server", documentId, data: bytes(1, 0xf6), count: 2 ** 40, sessionId: "é".repeat(20), senderId: "ålice 🦀" },
  "remote-subscription-change": { type: "remote-subscription-change", targetId: "server", add: [storageId, other], remove: [], senderId: "alice" },
  "remote-subscription-change-add-only": { type: "remote-subscription-change", targetId: "server", add: [storageId], remove: undefined, senderId: "bob" },
  "remote-heads-changed": { type: "remote-heads-changed", targetId: "bob", documentId, newHeads: { [storageId]: { heads, timestamp } }, senderId: "server" },
  "remote-heads-changed-empty": { type: "remote-heads-changed", targetId: "bob", documentId, newHeads: { [storageId]: { heads: [], timestamp }, [other]: { heads: [], timestamp: 7.5 } }, senderId: "server" },
  "unknown": { type: "from-the-future", senderId: "alice", targetId: ["not", "a", { name: 1 }], data: null, when: new Date(0) },
}
// The same through other settings of the same encoder, as another client may have them.
const variants = {
  "sync-tagged": new Encoder({ useRecords: false }).encode(sync),
  "sync-short-headers": new Encoder({ useRecords: false, tagUint8Array: false, variableMapSize: true }).encode(sync),
  "ephemeral-float-count": new Encoder({ useRecords: false, tagUint8Array: false, alwaysUseFloat: true }).encode(messages.ephemeral),
  "ephemeral-bigint-count": cbor.encode({ ...messages.ephemeral, count: 1n }),
}

// What a receiver cannot tell apart: an absent key and `undefined`, an empty list and none, a map's order.
const plain = message => {
  const copy = JSON.parse(JSON.stringify(message, (_, v) => (v instanceof Uint8Array || v?.type === "Buffer" ? Array.from(v.data ?? v) : v)))
  if (copy.type === "remote-subscription-change") (copy.add ??= []), (copy.remove ??= [])
  if (copy.type === "join") (copy.peerMetadata.isEphemeral ??= false), (copy.supportedProtocolVersions ??= ["1"])
  return copy.type === "from-the-future" ? { type: copy.type } : copy
}
const hex = frame => Buffer.from(frame).toString("hex").replace(/.{1,100}/g, "$&\n")
const unhex = name => Uint8Array.from(Buffer.from(readFileSync(new URL(name, import.meta.url), "latin1").replace(/\s/g, ""), "hex"))

if (process.argv[2] === "make") {
  for (const [name, message] of Object.entries(messages)) writeFileSync(new URL(`stock-${name}.hex`, import.meta.url), hex(cbor.encode(message)))
  for (const [name, frame] of Object.entries(variants)) writeFileSync(new URL(`stock-${name}.hex`, import.meta.url), hex(frame))
} else {
  const ours = readdirSync(new URL(".", import.meta.url)).filter(name => name.startsWith("ours-"))
  for (const name of ours) assert.deepEqual(plain(cbor.decode(unhex(name))), plain(messages[name.slice(5, -4)]), name)
  assert.equal(ours.length, Object.keys(messages).length)
  console.log(`${ours.length} frames decode to the same messages`)
}
