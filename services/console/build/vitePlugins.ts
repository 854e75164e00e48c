import { createReadStream, createWriteStream } from "node:fs";
import { readdir, stat, unlink } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type { Plugin } from "vite";

/**
 * Writes the page's content security policy into the built `index.html`, so that it holds on every server that hands
 * the file out. Not in `vite dev`, whose hot reload needs inline scripts.
 */
export function contentSecurityPolicy(policy: string): Plugin {
  return {
    name: "content-security-policy",
    apply: "build",
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: policy },
        injectTo: "head-prepend",
      },
    ],
  };
}

const WORTH_COMPRESSING = /\.(?:js|css|html|svg|wasm|json)$/;
const SMALLEST_WORTH_COMPRESSING = 1024;

/** Puts `name.gz` beside every file that shrinks by it: the wasm of automerge falls to less than a third. */
export function gzipBeside(): Plugin {
  let folder = "dist";
  return {
    name: "gzip-beside",
    apply: "build",
    configResolved: (config) => {
      folder = path.resolve(config.root, config.build.outDir);
    },
    closeBundle: async () => {
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        const file = path.join(entry.parentPath, entry.name);
        if (!entry.isFile() || !WORTH_COMPRESSING.test(file)) continue;
        const { size } = await stat(file);
        if (size < SMALLEST_WORTH_COMPRESSING) continue;
        await pipeline(createReadStream(file), createGzip({ level: 9 }), createWriteStream(`${file}.gz`));
        if ((await stat(`${file}.gz`)).size > 0.9 * size) await unlink(`${file}.gz`);
      }
    },
  };
}
