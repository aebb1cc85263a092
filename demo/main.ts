/**
 * `npm run demo`: the main job on real interfaces, in about ten seconds, with every number checked.
 *
 *     surroundings.ts   what this machine offers: TAPs, QEMU, a kernel for the guest
 *     child.ts          a process that speaks JSON lines
 *     cleanup.ts        what is undone at the end
 *     lab.ts            a network namespace with interfaces, senders and readers
 *     vm.ts             the VM: a guest of QEMU, or a simulated one
 *     ferry.ts          tapferry, as users start it
 *     story.ts          what happens, step by step, and what must come of it
 *     report.ts         what is printed
 *
 * Exit status: 0 when every number is what it should be, 1 when one is not or something failed, 3 when this
 * machine lacks what the demo needs, 128 + N after signal N. However it ends, nothing of it stays.
 */

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Cleanup } from './cleanup.ts'
import { Lab } from './lab.ts'
import { explain, introduce, printTable, printVerdict, sayInterrupted } from './report.ts'
import { check, play } from './story.ts'
import { findGuest, type Guest, Missing, requireTaps, userNamespace } from './surroundings.ts'
import { startVm } from './vm.ts'

/** Given to the demo inside a user namespace, with what was found outside. */
const INSIDE = '--inside-namespace'

const STATUS_MISSING = 3
const STATUS_SIGNALLED = 128

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

// Interrupted work may still wait for something.
process.exit(await main(process.argv.slice(2)))

async function main([mode, found]: string[]): Promise<number> {
  try {
    if (mode === INSIDE) return await interruptible(cleanup => demo(JSON.parse(found ?? ''), cleanup))
    requireTaps()
    const guest = await findGuest()
    const namespace = userNamespace()
    if (namespace === undefined) return await interruptible(cleanup => demo(guest, cleanup))
    return await runInside(namespace, guest)
  } catch (error) {
    explain(error)
    return error instanceof Missing ? STATUS_MISSING : 1
  }
}

async function demo(guest: Guest, cleanup: Cleanup): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'tapferry-demo-'))
  cleanup.add(() => rm(directory, { recursive: true, force: true }))
  const lab = await Lab.open(cleanup)
  introduce(guest)
  const vm = await startVm(guest, lab, directory, cleanup)
  const measured = await play(lab, vm, directory, cleanup)
  const faults = check(measured)
  printTable(measured)
  printVerdict(measured, faults)
  return faults.length === 0 ? 0 : 1
}

/** Runs the work to its end or to the first signal, and cleans up after it either way. */
async function interruptible(work: (cleanup: Cleanup) => Promise<number>): Promise<number> {
  const cleanup = new Cleanup()
  const interrupted = new Promise<NodeJS.Signals>(resolve => {
    for (const signal of SIGNALS) process.on(signal, () => resolve(signal))
    // Nobody reads on, as behind `| head`.
    process.stdout.on('error', () => resolve('SIGPIPE'))
  })
  const working = work(cleanup)
  // After a signal, what becomes of the work is of no interest.
  working.catch(() => {})
  const end = await Promise.race([working, interrupted]).finally(() => cleanup.run())
  if (typeof end === 'number') return end
  if (end !== 'SIGPIPE') sayInterrupted()
  return STATUS_SIGNALLED + constants.signals[end]
}

/** Runs the demo as root of a user namespace; signals are passed on, and its end is awaited. */
async function runInside(
  [command, ...options]: readonly [string, ...string[]],
  guest: Guest,
): Promise<number> {
  const self = [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url)]
  const args = [...options, ...self, INSIDE, JSON.stringify(guest)]
  const child = spawn(command, args, { stdio: 'inherit' })
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      resolve(code ?? STATUS_SIGNALLED + (signal === null ? 0 : constants.signals[signal]))
    })
  })
}
