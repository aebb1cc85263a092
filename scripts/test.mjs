// Runs every test, all of them even when one fails, and closes with one line: N passed, N failed, N skipped.
//
//   npm test
//   npm test -- --allowed-skips FILE   fail on a skip whose reason is not a line of FILE
//
// Without root, and where user namespaces are allowed, the tests run as root of a user namespace of their own.
// A test that cannot run here prints `skipped: reason`; it counts as skipped, not as passed.
//
// Tests with real interfaces and VMs depend on when this machine lets them run. A few that have failed run once more, by
// themselves; one that then passes counts as passed and is named at the end, so that it is looked at. Many that fail are
// no accident, and stay failed.

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { ROOT, setup } from './setup.mjs'

/** Set inside the namespace: everything that needs the network has been done outside. */
const INSIDE = '--inside-namespace'
const NAMESPACE = ['unshare', '--user', '--map-root-user', '--net', '--mount']

/** More failed tests than this are no accident. */
const MOST_RERUN = 5

/** Of test/: those that emulate machines, measure time, share the host's records, or build what the others run. */
const ALONE = ['handover', 'monitor', 'package', 'vm']
/** So many of the other files run at once: their tests start short-lived processes, and wait for them one by one. */
const BESIDE = 2

const RUNNERS = [
  {
    name: 'cargo test',
    command: ['cargo', 'test', '--workspace', '--no-fail-fast', '--', '--show-output'],
    again: names => ['cargo', 'test', '--workspace', '--no-fail-fast', '--', '--exact', ...names],
    read(line, counts) {
      const result = /^test result: \w+\. (\d+) passed; (\d+) failed;/.exec(line)
      if (result) {
        counts.passed += Number(result[1])
        counts.failed += Number(result[2])
      }
      const failed = /^test (\S+) \.\.\. FAILED$/.exec(line)
      if (failed) counts.names.push(failed[1])
      const ignored = /^test (\S+) \.\.\. ignored(?:, (.*))?$/.exec(line)
      if (ignored) counts.skips.push(ignored[2] ?? `${ignored[1]} is ignored`)
    },
  },
  ava(
    'some files at once',
    testFiles(file => !isAlone(file)),
    BESIDE,
  ),
  ava('one file at a time', testFiles(isAlone), 1),
]

function ava(how, files, concurrency) {
  return {
    name: `ava, ${how}`,
    command: avaCommand(files, concurrency),
    // Whole files: the tests of one share what they set up. What is no test, as a file's time-out, is in none.
    again: names => {
      const files = [...new Set(names.map(testFile))]
      return files.every(file => existsSync(`${ROOT}${file}`)) ? avaCommand(files, 1) : undefined
    },
    read(line, counts) {
      const result = /^(not )?ok \d+ - (.*?)( # (?:SKIP|TODO))?$/.exec(line)
      if (result?.[3]) counts.skips.push(`${result[2]} is skipped in the source`)
      else if (result?.[1]) {
        counts.failed += 1
        counts.names.push(result[2])
      } else if (result) counts.passed += 1
    },
  }
}

function avaCommand(files, concurrency) {
  return ['node_modules/.bin/ava', '--tap', `--concurrency=${concurrency}`, ...files]
}

/** Those that fit, from the repository's root. */
function testFiles(fits) {
  const files = readdirSync(`${ROOT}test`, { recursive: true }).filter(file => file.endsWith('.test.ts'))
  return files
    .map(file => `test/${file}`)
    .filter(fits)
    .sort()
}

function isAlone(file) {
  return ALONE.includes(file.split('/')[1])
}

/** `cli › run › its title` is a test of test/cli/run.test.ts. */
function testFile(name) {
  const [directory, file] = name.split(' › ')
  return `test/${directory}/${file}.test.ts`
}

await main(process.argv.slice(2))

async function main(args) {
  if (!args.includes(INSIDE)) {
    setup()
    // Compiled out here, where crates can still be fetched; a failure is told by the run itself.
    spawnSync('cargo', ['test', '--workspace', '--no-run', '--quiet'], { cwd: ROOT, stdio: ['ignore', 2, 2] })
    if (process.getuid() !== 0 && namespacesAreAllowed()) {
      const [command, ...options] = NAMESPACE
      const self = [process.execPath, fileURLToPath(import.meta.url), INSIDE, ...args]
      const { status } = spawnSync(command, [...options, ...self], { cwd: ROOT, stdio: 'inherit' })
      process.exitCode = status ?? 1
      return
    }
  }
  // A new namespace has a loopback interface, and it is down.
  if (args.includes(INSIDE)) spawnSync('ip', ['link', 'set', 'lo', 'up'], { stdio: 'inherit' })
  const total = { passed: 0, failed: 0, skips: [], unsteady: [] }
  for (const runner of RUNNERS) {
    const counts = await run(runner, runner.command)
    const unsteady = await passedAgain(runner, counts)
    total.passed += counts.passed + unsteady.length
    total.failed += counts.failed - unsteady.length
    total.skips.push(...counts.skips)
    total.unsteady.push(...unsteady)
  }
  for (const name of total.unsteady) console.log(`unsteady: ${name} failed, and passed when it ran again`)
  const unexpected = unexpectedSkips(total.skips, args)
  for (const reason of unexpected) console.log(`not allowed to be skipped here: ${reason}`)
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skips.length} skipped`)
  process.exitCode = total.failed > 0 || unexpected.length > 0 ? 1 : 0
}

function namespacesAreAllowed() {
  const [command, ...options] = NAMESPACE
  return spawnSync(command, [...options, 'true'], { stdio: 'ignore' }).status === 0
}

/** The names of failed tests that pass when they run again; none if one fails that has no name, or too many do. */
async function passedAgain(runner, { failed, names }) {
  if (failed === 0 || failed > MOST_RERUN || names.length !== failed) return []
  const command = runner.again(names)
  if (command === undefined) return []
  const again = await run(runner, command)
  // A run that ended otherwise proves nothing.
  if (again.failed > 0 && again.names.length !== again.failed) return []
  // ava leaves out the file's name where there is only one.
  const isSame = (name, failed) => name === failed || name.endsWith(` › ${failed}`)
  return names.filter(name => !again.names.some(failed => isSame(name, failed)))
}

/** Runs one runner, shows its output, and counts. */
async function run({ name, read }, command) {
  console.log(`\n${name}: ${command.join(' ')}`)
  const counts = { passed: 0, failed: 0, skips: [], names: [] }
  const [file, ...args] = command
  const child = spawn(file, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise(resolve => {
    child.on('error', error => resolve(error.message))
    child.on('close', (code, signal) => resolve(code === 0 ? undefined : `status ${code ?? signal}`))
  })
  let skippedInRun = 0
  const readers = [child.stdout, child.stderr].map(async (stream, index) => {
    for await (const line of createInterface({ input: stream })) {
      ;[process.stdout, process.stderr][index].write(`${line}\n`)
      const skip = /^\W*skipped: (.+)$/.exec(line)
      if (skip) {
        counts.skips.push(skip[1].trim())
        skippedInRun += 1
      } else read(line, counts)
    }
  })
  const problem = await ended
  await Promise.all(readers)
  // The runner counted these as passed, because they returned.
  counts.passed = Math.max(0, counts.passed - skippedInRun)
  if (problem !== undefined && counts.failed === 0) {
    console.log(`${name} ended with ${problem} without naming a failed test; counted as one`)
    counts.failed = 1
  }
  return counts
}

function unexpectedSkips(skips, args) {
  const at = args.indexOf('--allowed-skips')
  if (at === -1) return []
  const lines = readFileSync(args[at + 1], 'utf8').split('\n')
  const allowed = new Set(lines.map(line => line.trim()).filter(line => line !== '' && !line.startsWith('#')))
  return [...new Set(skips)].filter(reason => !allowed.has(reason))
}
