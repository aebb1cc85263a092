/** A network namespace with TAPs, senders and readers: `testbed lab` (crates/testbed/src/lab/mod.rs). */

import type { Flow } from '../test/support/tally.ts'
import { Child, type CommandLine, type Json } from './child.ts'
import type { Cleanup } from './cleanup.ts'
import { Missing, TESTBED } from './surroundings.ts'

export interface Tally {
  readonly frames: number
  readonly flows: Readonly<Record<string, Flow>>
}

export interface Sent {
  readonly frames: number
  /** Just before the first frame, CLOCK_REALTIME. */
  readonly firstNs: string
}

export class Lab {
  readonly #child: Child
  readonly #pid: number
  #lastId = 0

  /** Rejects with Missing where there can be no network namespace. */
  static async open(cleanup: Cleanup): Promise<Lab> {
    const child = new Child('the lab', [TESTBED, 'lab'])
    cleanup.add(() => child.closeInput())
    const { ready, pid, skipped } = await child.expect(line => 'ready' in line)
    if (ready !== true) throw new Missing(String(skipped), 'run the demo as root')
    return new Lab(child, Number(pid))
  }

  private constructor(child: Child, pid: number) {
    this.#child = child
    this.#pid = pid
  }

  /** Asks for one operation and waits for its reply. */
  async ask<Reply = Json>(op: string, fields: Json): Promise<Reply> {
    this.#lastId += 1
    const id = this.#lastId
    const answer = this.#child.expect(line => line['id'] === id)
    this.#child.write(JSON.stringify({ id, op, ...fields }))
    const { ok, error, ...reply } = await answer
    if (ok !== true) throw new Error(`the lab refused ${op}: ${error}`)
    return reply as Reply
  }

  /** A command in the lab's network namespace; it is killed when the demo is. */
  inside(...command: CommandLine): CommandLine {
    return ['nsenter', `--net=/proc/${this.#pid}/ns/net`, '--', 'setpriv', '--pdeathsig', 'KILL', ...command]
  }
}
