// Makes a fresh clone work: dependencies, native addon, bundle, testbed. `npm run demo` and `npm test` start
// here, so this file and what it imports use nothing but Node's own modules. What is up to date is left alone.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Ends the process with a message when something is missing or a step fails. */
export function setup() {
  checkNode()
  checkCargo()
  if (!dependenciesAreCurrent()) step('installing dependencies', 'npm', ['ci', '--no-audit', '--no-fund'])
  step('building the native addon', 'npm', ['run', '--silent', 'build:native'])
  step('bundling the command line', 'npm', ['run', '--silent', 'build:ts'])
  const testbed = ['build', '--quiet', '--profile=testbed', '--package=tapferry-testbed']
  step('building the testbed', 'cargo', testbed)
}

function checkNode() {
  const { engines } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8'))
  const wanted = engines.node.replace(/^>=/, '').split('.').map(Number)
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < wanted[0] || (major === wanted[0] && minor < wanted[1])) {
    fail(`Node.js ${process.versions.node} is too old`, `install Node.js ${wanted.join('.')} or newer`)
  }
}

function checkCargo() {
  const { error } = spawnSync('cargo', ['--version'], { stdio: 'ignore' })
  if (error)
    fail(`cargo does not start: ${error.message}`, 'install Rust (rustup or the packages rustc, cargo)')
}

/** npm writes node_modules/.package-lock.json when it has installed what the lock file says. */
function dependenciesAreCurrent() {
  const installed = `${ROOT}node_modules/.package-lock.json`
  return existsSync(installed) && statSync(installed).mtimeMs >= statSync(`${ROOT}package-lock.json`).mtimeMs
}

function step(what, command, args) {
  process.stderr.write(`setup: ${what}\n`)
  // Progress is no result: it goes to stderr with everything else of the setup.
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 2, 2] })
  if (status !== 0)
    fail(`${what} failed: ${command} ${args.join(' ')}`, error?.message ?? 'the reason is above')
}

function fail(message, hint) {
  process.stderr.write(`setup: ${message}\n  ${hint}\n`)
  process.exit(1)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setup()
