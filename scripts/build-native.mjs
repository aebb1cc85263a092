// Builds the native addon into dist/, for this platform or for another one:
//
//   npm run build:native
//   npm run build:native -- --target aarch64-unknown-linux-gnu    options go to `napi build`
//
// A panic names the source file that it came from, so the addon holds the paths of the crates that it was made of.
// They are the same ones wherever it is built: where cargo keeps its crates is nobody's business but the builder's.

import { spawnSync } from 'node:child_process'
import { dirname } from 'node:path'
import { cargoMetadata } from './cargo.mjs'
import { ROOT } from './setup.mjs'

const NAPI_BUILD = [
  ...['build', '--platform', '--release'],
  ...['--manifest-path', 'crates/node/Cargo.toml', '--package-json-path', 'package.json'],
  ...['--output-dir', 'dist', '--no-js'],
]

/** `--remap-path-prefix` for each directory that holds crates of others. */
function remappings() {
  const foreign = cargoMetadata().packages.filter(({ source }) => source !== null)
  const directories = new Set(foreign.map(({ manifest_path }) => dirname(dirname(manifest_path))))
  return [...directories].sort().map(directory => `--remap-path-prefix=${directory}=/deps`)
}

const rustflags = [process.env.RUSTFLAGS, ...remappings()].filter(Boolean).join(' ')
const { status, error } = spawnSync('node_modules/.bin/napi', [...NAPI_BUILD, ...process.argv.slice(2)], {
  cwd: ROOT,
  env: { ...process.env, RUSTFLAGS: rustflags },
  stdio: 'inherit',
})
if (error) process.stderr.write(`build-native: napi does not start: ${error.message}\n  install it: npm ci\n`)
process.exitCode = status ?? 1
