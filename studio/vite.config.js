import { createHash } from "node:crypto"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { defineConfig } from "vite"

// The built files carry a hash of what they were built from, so that a test without Node can tell when they are out of date.
const SOURCES = ["index.html", "package-lock.json", "public", "src", "vite.config.js"]

function files(path) {
  return statSync(path).isDirectory()
    ? readdirSync(path)
        .sort()
        .flatMap((name) => files(join(path, name)))
    : [path]
}

function sourceHash() {
  const hash = createHash("sha256")
  for (const path of SOURCES.flatMap(files)) hash.update(path.replaceAll("\\", "/") + "\0").update(readFileSync(path))
  return hash.digest("hex")
}

const stamp = {
  name: "source-hash",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "source.sha256", source: sourceHash() + "\n" })
  },
}

export default defineConfig({
  plugins: [stamp],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/sartor/serve/studio/dist",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false }, // it would be an inline script
    assetsInlineLimit: 0, // no data: URLs, so that the content policy can stay closed
    reportCompressedSize: true,
  },
  server: {
    proxy: Object.fromEntries(
      ["/v1", "/healthz", "/readyz", "/docs"].map((path) => [
        path,
        process.env.SARTOR_URL ?? "http://127.0.0.1:8000",
      ]),
    ),
  },
})
