/** A process that speaks JSON lines: the lab, the guest on its serial port, tapferry with --json. */

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

export type Json = Readonly<Record<string, unknown>>

export type CommandLine = readonly [file: string, ...args: string[]]

interface Expectation {
  matches(line: Json): boolean
  resolve(line: Json): void
  reject(error: Error): void
}

/** Longer than anything here takes on a slow and busy machine. */
const PATIENCE_MS = 60_000

export class Child {
  /** Lines of stderr, in order. */
  readonly complaints: string[] = []
  /** Every JSON line of stdout, in order. */
  readonly said: Json[] = []
  /** The exit status, or the signal's name. */
  readonly ended: Promise<number | string>
  readonly #what: string
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #expectations = new Set<Expectation>()
  /** Why nothing more will be heard. */
  #end: Error | undefined

  /** In a session of its own, so that Ctrl-C reaches the demo alone; it ends with the demo, however that ends. */
  constructor(what: string, [file, ...args]: CommandLine, cwd?: string) {
    this.#what = what
    const child = spawn(file, args, { cwd, stdio: 'pipe', detached: true })
    this.#process = child
    createInterface({ input: child.stdout }).on('line', line => this.#hear(line))
    createInterface({ input: child.stderr }).on('line', line => this.complaints.push(line))
    // Whoever has ended reads no more, and `ended` tells.
    child.stdin.on('error', () => {})
    this.ended = new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code, signal) => resolve(code ?? signal ?? 0))
    })
    const gone = (why: string) => {
      this.#end = this.#failure(why)
      this.#fail(this.#end)
    }
    this.ended.then(
      end => gone(`ended (${end})`),
      error => gone(`does not start: ${error.message}`),
    )
  }

  /** The next JSON line that matches; to be called before what brings it about. */
  expect(matches: (line: Json) => boolean): Promise<Json> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) return reject(this.#end)
      const silence = () => this.#fail(this.#failure(`said nothing for ${PATIENCE_MS / 1000} s`))
      const timer = setTimeout(silence, PATIENCE_MS)
      this.#expectations.add({
        matches,
        resolve: line => {
          clearTimeout(timer)
          resolve(line)
        },
        reject: error => {
          clearTimeout(timer)
          reject(error)
        },
      })
    })
  }

  write(line: string): void {
    this.#process.stdin.write(`${line}\n`)
  }

  /** Asks it to end by the end of its stdin, and waits. */
  async closeInput(): Promise<void> {
    this.#process.stdin.end()
    await this.ended
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal)
  }

  /** Ends it at once, if it has not ended. */
  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.ended.catch(() => {})
  }

  #hear(text: string): void {
    // A guest's firmware says other things on the same line.
    if (!text.startsWith('{')) return
    const line = JSON.parse(text) as Json
    this.said.push(line)
    for (const expectation of this.#expectations) {
      if (!expectation.matches(line)) continue
      this.#expectations.delete(expectation)
      expectation.resolve(line)
    }
  }

  #failure(why: string): Error {
    return new Error([`${this.#what} ${why}`, ...this.complaints].join('\n  '))
  }

  #fail(error: Error): void {
    for (const { reject } of this.#expectations) reject(error)
    this.#expectations.clear()
  }
}
