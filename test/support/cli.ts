/** Runs the command as a user does: bin/tapferry with the built bundle, in a process of its own. */

import { type ChildProcessByStdio, type StdioOptions, spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const TAPFERRY = `${ROOT}bin/tapferry`

/** What a process said, and how it ended. */
export interface Finished {
  status: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** An environment without what would change colours or the addon; undefined values are left out. */
export function cleanEnv(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { NO_COLOR: _, FORCE_COLOR: __, JOURNAL_STREAM: ___, ...rest } = process.env
  return { ...rest, ...extra }
}

/** Runs a command to its end. */
export function run(
  file: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      env: cleanEnv(options.env),
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', text => {
      stderr += text
    })
    child.on('error', reject)
    child.on('close', (status, signal) => resolve({ status, signal, stdout, stderr }))
  })
}

/** Runs tapferry to its end. */
export function tapferry(...args: string[]): Promise<Finished> {
  return run(TAPFERRY, args)
}

/** The JSON objects on stdout, one a line. */
export function records(stdout: string): Record<string, unknown>[] {
  return stdout
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Record<string, unknown>)
}

/** It ends within a second of being asked to; here the machine may be busy with other things. */
const STOP_MS = 20_000

/** A tapferry that runs until it is told to stop. */
export class Running {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>
  readonly #finished: Promise<Finished>
  readonly #waiting = new Set<() => void>()
  stdout = ''
  stderr = ''

  /** It inherits `sockets` as its descriptors 3, 4 and so on. */
  constructor(
    [file, args]: readonly [file: string, args: readonly string[]],
    { env, sockets = [] }: { env?: NodeJS.ProcessEnv; sockets?: readonly Socket[] } = {},
  ) {
    const stdio: StdioOptions = ['ignore', 'pipe', 'pipe', ...sockets]
    // Which of its streams are pipes cannot be told by the type of a list.
    const child = spawn(file, args, { env: cleanEnv(env), stdio }) as ChildProcessByStdio<
      null,
      Readable,
      Readable
    >
    this.#child = child
    child.stdout.setEncoding('utf8').on('data', text => {
      this.stdout += text
      for (const check of this.#waiting) check()
    })
    child.stderr.setEncoding('utf8').on('data', text => {
      this.stderr += text
      for (const check of this.#waiting) check()
    })
    this.#finished = new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (status, signal) => {
        resolve({ status, signal, stdout: this.stdout, stderr: this.stderr })
      })
    })
  }

  /** The process that was started: neither the launcher nor nsenter leaves another one in between. */
  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Waits until a line on stderr or stdout matches. */
  async line(pattern: RegExp, timeoutMs?: number): Promise<string> {
    const find = () => `${this.stderr}\n${this.stdout}`.split('\n').find(line => pattern.test(line))
    await this.until(() => find() !== undefined, String(pattern), timeoutMs)
    return find() ?? ''
  }

  /** Waits until a condition on what it said holds; `what` names it in a failure. */
  until(condition: () => boolean, what: string, timeoutMs = 15_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const told = () => `stdout:\n${this.stdout}\nstderr:\n${this.stderr}`
      const fail = (why: string) => settle(() => reject(new Error(`${why} before ${what}; ${told()}`)))
      const check = () => {
        if (condition()) settle(resolve)
      }
      const timer = setTimeout(() => fail('time is over'), timeoutMs)
      const settle = (end: () => void) => {
        clearTimeout(timer)
        this.#waiting.delete(check)
        end()
      }
      this.#waiting.add(check)
      this.#finished.then(() => this.#waiting.has(check) && fail('tapferry ended'), reject)
      check()
    })
  }

  ready(): Promise<string> {
    return this.line(/\bready\b/)
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  end(): Promise<Finished> {
    return this.#finished
  }

  /** Asks it to stop, and waits. Does nothing to one that has ended. One that does not end is killed. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Finished> {
    this.signal(signal)
    const timer = setTimeout(() => this.signal('SIGKILL'), STOP_MS)
    const finished = await this.#finished
    clearTimeout(timer)
    return finished
  }
}
