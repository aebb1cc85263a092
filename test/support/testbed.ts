/**
 * A private network namespace with TAPs, senders and readers: `testbed lab` (crates/testbed), driven by JSON lines.
 * What it can do is written in crates/testbed/src/lab/mod.rs.
 */

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { ROOT } from './cli.ts'

/** Where cargo puts what it builds. */
export const TARGET = process.env['CARGO_TARGET_DIR'] ?? `${ROOT}target`
export const TESTBED = `${TARGET}/testbed/testbed`

/** Longer than anything that a test asks for takes. */
const ANSWER_MS = 60_000

export type Reply = Record<string, unknown>

/** What a test needs is not to be had here; its message is the reason for a skip. */
export class Unavailable extends Error {}

export class Lab {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #pending = new Map<number, { resolve(reply: Reply): void; reject(error: Error): void }>()
  #lastId = 0
  #pid = 0

  static async open(): Promise<Lab> {
    // The reason for a skip also goes to stderr, where it would be counted a second time.
    const child = spawn(TESTBED, ['lab'], { stdio: ['pipe', 'pipe', 'ignore'] })
    const lines = createInterface({ input: child.stdout })
    const first = (await Promise.race([
      once(lines, 'line').then(([line]) => JSON.parse(line)),
      once(child, 'error').then(([error]) => Promise.reject(error)),
      once(child, 'close').then(() =>
        Promise.reject(new Error(`${TESTBED} lab ended before its first line`)),
      ),
    ])) as { ready: boolean; pid: number; skipped?: string }
    if (!first.ready) throw new Unavailable(first.skipped)
    return new Lab(child, lines, first.pid)
  }

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>, lines: Interface, pid: number) {
    this.#child = child
    this.#pid = pid
    lines.on('line', line => {
      const { id, ok, ...reply } = JSON.parse(line) as Reply
      const waiting = this.#pending.get(id as number)
      this.#pending.delete(id as number)
      if (ok) waiting?.resolve(reply)
      else waiting?.reject(new Error(`lab: ${reply['error']}`))
    })
    lines.on('close', () => {
      for (const { reject } of this.#pending.values()) reject(new Error('the lab ended'))
    })
  }

  /** Of the process whose namespace it is: /proc/PID/ns/net leads there. */
  get pid(): number {
    return this.#pid
  }

  /** Asks for one operation and waits for its reply. */
  ask(op: string, fields: Readonly<Record<string, unknown>> = {}): Promise<Reply> {
    this.#lastId += 1
    const id = this.#lastId
    const request = JSON.stringify({ id, op, ...fields })
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`the lab has not answered for ${ANSWER_MS / 1000} s: ${request}`))
      const timer = setTimeout(late, ANSWER_MS)
      const answered = <A extends unknown[]>(settle: (...args: A) => void) => {
        return (...args: A) => {
          clearTimeout(timer)
          settle(...args)
        }
      }
      this.#pending.set(id, { resolve: answered(resolve), reject: answered(reject) })
      this.#child.stdin.write(`${request}\n`)
    })
  }

  /**
   * A command line that runs in the lab's network namespace, as the process that is started. It ends with its
   * parent, so that nothing is left of a test that was ended from outside.
   */
  inside(...command: readonly string[]): [file: string, args: string[]] {
    const namespace = `--net=/proc/${this.#pid}/ns/net`
    return ['setpriv', ['--pdeathsig=KILL', '--', 'nsenter', namespace, '--', ...command]]
  }

  /** Does nothing to one that has ended: after Ctrl-C, which it gets too. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const closed = once(this.#child, 'close')
    this.#child.stdin.end()
    await closed
  }
}
