/** The serial port of the guest of crates/guest: a command a line, and an answer of one JSON line. */

import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

/** A boot takes 3 to 10 s, and several times that on a machine that is busy with other things. */
const BOOT_MS = 90_000
const ANSWER_MS = 30_000

/** What the guest says: `guest` is the kind of line. */
type Line = Readonly<Record<string, unknown>>

interface Waiting {
  readonly kind: string
  resolve(line: Line): void
  reject(error: Error): void
}

export class Console {
  readonly #input: Writable
  readonly #waiting = new Set<Waiting>()
  /** Boots that nobody has waited for yet: a reset boots once more. */
  #boots = 0
  #ended = false

  constructor(input: Writable, output: Readable) {
    this.#input = input
    // Whoever has ended reads no more, and the end of its output tells.
    input.on('error', () => {})
    createInterface({ input: output })
      .on('line', line => this.#hear(line))
      .on('close', () => this.#end())
  }

  /** Waits until the guest is up; after a reset, until it is up again. */
  async booted(): Promise<void> {
    if (this.#boots === 0) await this.#expect('ready', BOOT_MS)
    this.#boots -= 1
  }

  /** Waits for the answer to a command; `kind` is what it begins with. One question at a time. */
  ask(command: string, kind: string): Promise<Line> {
    const answer = this.answer(kind)
    this.tell(command)
    return answer
  }

  /** A command whose answer comes elsewhere: the guest has migrated before it answers. */
  tell(command: string): void {
    this.#input.write(`${command}\n`)
  }

  /** The next answer of a kind, also to a question that was asked before the guest migrated. */
  answer(kind: string): Promise<Line> {
    return this.#expect(kind, ANSWER_MS)
  }

  #expect(kind: string, timeoutMs: number): Promise<Line> {
    return new Promise((resolve, reject) => {
      const settle = (end: () => void) => {
        clearTimeout(timer)
        this.#waiting.delete(waiting)
        end()
      }
      const waiting: Waiting = {
        kind,
        resolve: line => settle(() => resolve(line)),
        reject: error => settle(() => reject(error)),
      }
      const late = () => waiting.reject(new Error(`the guest said no '${kind}' for ${timeoutMs / 1000} s`))
      const timer = setTimeout(late, timeoutMs)
      this.#waiting.add(waiting)
      if (this.#ended) waiting.reject(new Error('the guest has ended'))
    })
  }

  #hear(text: string): void {
    // Firmware says other things on the same line.
    if (!text.startsWith('{')) return
    const line = JSON.parse(text) as Line
    if (line['guest'] === 'ready') this.#boots += 1
    for (const waiting of this.#waiting) {
      if (line['guest'] === 'failed') waiting.reject(new Error(`the guest failed: ${line['error']}`))
      else if (line['guest'] === waiting.kind) waiting.resolve(line)
    }
  }

  #end(): void {
    this.#ended = true
    for (const waiting of this.#waiting) waiting.reject(new Error('the guest ended'))
  }
}
