// A storage adapter in memory: what a browser's IndexedDB is to a client, and it can be handed to the client's next life.

/**
 * @typedef {import("@automerge/automerge-repo").StorageKey} StorageKey
 * @typedef {import("@automerge/automerge-repo").StorageAdapterInterface} StorageAdapterInterface
 */

/** @implements {StorageAdapterInterface} */
export class MemoryStorage {
  /** By the key's JSON text. @type {Map<string, { key: StorageKey, data: Uint8Array }>} */
  #values = new Map();

  /** @param {StorageKey} key */
  async load(key) {
    return this.#values.get(JSON.stringify(key))?.data;
  }

  /**
   * @param {StorageKey} key
   * @param {Uint8Array} data
   */
  async save(key, data) {
    this.#values.set(JSON.stringify(key), { key, data: data.slice() });
  }

  /** @param {StorageKey} key */
  async remove(key) {
    this.#values.delete(JSON.stringify(key));
  }

  /** @param {StorageKey} prefix */
  async loadRange(prefix) {
    return [...this.#values.values()].filter(({ key }) => prefix.every((part, index) => key[index] === part));
  }

  /** @param {StorageKey} prefix */
  async removeRange(prefix) {
    for (const { key } of await this.loadRange(prefix)) await this.remove(key);
  }
}
