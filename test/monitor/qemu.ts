/** The real QEMU, for the tests of the VM watch. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import test, { type ExecutionContext } from 'ava'

export const QEMU = 'qemu-system-x86_64'

/** A machine without a guest: the firmware finds nothing to boot, which is running enough. */
const MACHINE = ['-accel', 'tcg', '-M', 'q35', '-m', '64', '-nodefaults', '-display', 'none']

export const qmp = (address: string): string[] => ['-qmp', `${address},server=on,wait=off`]

export interface Qemu {
  readonly pid: number
  signal(signal: NodeJS.Signals): void
  readonly ended: Promise<void>
}

export function start(t: ExecutionContext, args: readonly string[], wrapper: readonly string[] = []): Qemu {
  const [command = QEMU, ...rest] = [...wrapper, QEMU, ...MACHINE, ...args]
  const child: ChildProcess = spawn(command, rest, { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaints = ''
  child.stderr?.on('data', data => {
    complaints += data
  })
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
    if (!t.passed) t.log(complaints.trim())
  })
  return { pid: child.pid ?? 0, signal: signal => child.kill(signal), ended }
}

/** Runs the test if QEMU is here, else says so. */
export function withQemu(title: string, body: (t: ExecutionContext) => Promise<void>): void {
  test.serial(title, async t => {
    if (spawnSync(QEMU, ['--version']).status !== 0) {
      t.log(`skipped: ${QEMU} is not installed`)
      t.pass()
      return
    }
    await body(t)
  })
}
