/** tapferry as users start it: bin/tapferry in a process of its own. */

import { TAPFERRY } from '../test/support/cli.ts'
import { Child, type Json } from './child.ts'
import type { Cleanup } from './cleanup.ts'
import type { Lab } from './lab.ts'

/** What the demo looks at of --json's statistics. */
export interface Statistics {
  readonly gate: string
  readonly running: boolean
  readonly captured: number
  readonly forwarded: number
  readonly held: number
  readonly dropped: number
  /** Every reason to drop a frame, with its frames. */
  readonly reasons: Readonly<Record<string, number>>
  readonly lostAtOutput: number
}

const REASON_PREFIX = 'dropped_'

export class Ferry {
  readonly #child: Child
  #linesTold = 0

  /** Starts `tapferry run` in the lab, and waits until it is ready. */
  static async start(lab: Lab, args: readonly string[], cwd: string, cleanup: Cleanup): Promise<Ferry> {
    const child = new Child('tapferry', lab.inside(TAPFERRY, 'run', ...args), cwd)
    cleanup.add(() => child.kill())
    await child.expect(line => line['type'] === 'ready')
    return new Ferry(child)
  }

  private constructor(child: Child) {
    this.#child = child
  }

  /** Its lines for people, since the last call. */
  newLines(): string[] {
    const lines = this.#child.complaints.slice(this.#linesTold)
    this.#linesTold += lines.length
    return lines
  }

  /** The last of its events of a kind. */
  lastEvent(name: string): Json | undefined {
    return this.#child.said.findLast(line => line['type'] === 'event' && line['event'] === name)
  }

  /** What it counts at this moment. */
  async statistics(): Promise<Statistics> {
    const answer = this.#child.expect(line => line['type'] === 'statistics')
    this.#child.signal('SIGUSR1')
    const record = await answer
    const reasons = Object.entries(record).filter(([name]) => name.startsWith(REASON_PREFIX))
    return {
      gate: String(record['gate']),
      running: record['running'] === true,
      captured: Number(record['captured']),
      forwarded: Number(record['forwarded']),
      held: Number(record['held']),
      dropped: Number(record['dropped']),
      reasons: Object.fromEntries(
        reasons.map(([name, frames]) => [name.slice(REASON_PREFIX.length), Number(frames)]),
      ),
      lostAtOutput: Number(record['lost_at_output']),
    }
  }

  /** Stops it as a service manager does, and answers with its exit status. */
  stop(): Promise<number | string> {
    this.#child.signal('SIGTERM')
    return this.#child.ended
  }
}
