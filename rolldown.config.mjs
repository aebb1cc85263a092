// One file, because a bundled command line starts about twice as fast as one read from node_modules.
// The addon is loaded at run time by ts/native.ts through createRequire, so nothing of it is bundled.
import { readFileSync } from 'node:fs'
import { defineConfig } from 'rolldown'

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'))

export default defineConfig({
  input: 'ts/main.ts',
  platform: 'node',
  transform: {
    target: 'node20.19',
    define: { TAPFERRY_VERSION: JSON.stringify(version) },
  },
  output: {
    file: 'dist/main.mjs',
    format: 'esm',
    codeSplitting: false,
    minify: 'dce-only',
    sourcemap: false,
  },
})
