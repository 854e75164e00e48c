import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { contentSecurityPolicy, gzipBeside } from "./build/vitePlugins.ts";

const server = process.env["AETHERFLOW_URL"] ?? "http://127.0.0.1:7400";

export default defineConfig({
  // Relative, so that the page also works below a path of some other site.
  base: "./",
  plugins: [
    contentSecurityPolicy(
      [
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "connect-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "object-src 'none'",
      ].join("; "),
    ),
    gzipBeside(),
  ],
  resolve: {
    alias: {
      // The usual entry of cbor-x tries `new Function`, which the policy above forbids.
      "cbor-x": "cbor-x/index-no-eval",
      // What the stock client makes its connections of; ours shows the token.
      "isomorphic-ws": fileURLToPath(new URL("web/sync/socket.ts", import.meta.url)),
    },
  },
  build: {
    target: "es2022",
    // Nothing becomes a data: URL, which the policy would refuse.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 800,
  },
  server: {
    proxy: {
      "/automerge": { target: server, ws: true },
      "/v1": { target: server },
    },
  },
});
