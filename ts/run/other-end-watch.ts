/**
 * Sees to it that the VM behind a stream understands us: what to look at, and what to tell, when peers come and go.
 * Who is at the other end is found by ts/vm/other-end.ts. Its headers are compared with ours (ts/vm/headers.ts), and
 * an outdev's filters that are deaf are made anew (ts/vm/deafness.ts). Without a monitor there is only the advice.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { RedirectorEventType } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import type { Monitor } from '../monitor/index.ts'
import { nowNs } from '../output/format.ts'
import type { Printer, RecordFields } from '../output/printer.ts'
import { formatStreamAddress } from '../stream/address.ts'
import { DeafnessCure, type Revival } from '../vm/deafness.ts'
import { compareHeaders, type Mismatch, type OwnHeaders } from '../vm/headers.ts'
import { OtherEnd, type StreamRole } from '../vm/other-end.ts'
import { type StreamPlan, writtenHeaderLength } from './ends.ts'
import type { RunPlan } from './plan.ts'

/**
 * Pauses before each look. The next connection may be made before a busy QEMU knows that the last one has ended, and
 * only then does it become deaf, cured or not.
 */
const LOOKS_MS = [0, 100, 1000]

/** Whom nobody could ask, and what an operator can do. */
const ADVICE =
  'a filter-redirector of QEMU up to 10.0 does not hear a peer that comes back: give the --qmp of its VM, ' +
  'or make it anew there (object-del, object-add)'

/** What is to be asked of the VM. */
interface Questions {
  readonly monitor: Monitor
  readonly otherEnd: OtherEnd
  /** Of an outdev. */
  readonly cure: DeafnessCure | undefined
}

interface Around {
  readonly monitor: Monitor | undefined
  readonly printer: Printer
  /** Shared by all that ask one monitor. */
  readonly turns: Turns
}

/** One after the other, where several would be in each other's way: filters that are made anew keep their order. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve()

  take<T>(task: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(task)
    this.#last = turn.catch(() => {})
    return turn
  }
}

/** One for each end of a plan that is a stream. */
export function watchOtherEnds(
  plan: RunPlan,
  monitor: Monitor | undefined,
  printer: Printer,
  turns: Turns,
): OtherEndWatch[] {
  const { input, output } = plan
  const around = { monitor, printer, turns }
  return [
    ...(input.kind === 'stream' ? [new OtherEndWatch('indev', input, undefined, around)] : []),
    ...(output.kind === 'stream'
      ? [new OtherEndWatch('outdev', output, writtenHeaderLength(input, output), around)]
      : []),
  ]
}

export class OtherEndWatch {
  readonly #role: StreamRole
  readonly #own: OwnHeaders
  readonly #printer: Printer
  readonly #turns: Turns
  readonly #questions: Questions | undefined
  readonly #closing = new AbortController()
  /** Aborted by the next one: the looks that are under way. */
  #looks = new AbortController()
  /** Looks come one after the other. */
  #last: Promise<unknown> = Promise.resolve()
  #peerHasLeft = false
  #peerIsBack = false
  #advised = false
  /** What was warned of: filters whose cure failed, and settings that differ. Told once. */
  readonly #told = new Set<string>()

  /** `length`: that of the headers that we write, if it is known. */
  constructor(
    role: StreamRole,
    { address, server, vnetHdrSupport }: StreamPlan,
    length: number | undefined,
    { monitor, printer, turns }: Around,
  ) {
    this.#role = role
    this.#own = { role, stream: formatStreamAddress(address), vnetHdrSupport, length }
    this.#printer = printer
    this.#turns = turns
    if (monitor === undefined) return
    const otherEnd = new OtherEnd(monitor, { role, address, server })
    const cure = role === 'outdev' ? new DeafnessCure(monitor, otherEnd) : undefined
    this.#questions = { monitor, otherEnd, cure }
  }

  /** To be called when all is ready, and when a monitor is there again: the VM may have been changed before. */
  check(): void {
    const questions = this.#questions
    if (questions === undefined || this.#closing.signal.aborted) return
    this.#looks.abort()
    this.#looks = new AbortController()
    const { signal } = this.#looks
    this.#last = this.#last.then(() => this.#lookRepeatedly(questions, signal))
  }

  onRedirectorEvent(type: RedirectorEventType): void {
    const side = this.#role === 'outdev' ? 'output' : 'input'
    const [left, back] = [type === `${side}_missing`, type === `${side}_back`]
    if (left) this.#peerHasLeft = true
    if (left || back) this.#peerIsBack = back && this.#peerHasLeft
    // Also when it leaves: what is deaf may be cured before the peer is back.
    if (left || back) this.check()
    if (back && this.#questions === undefined) this.#advise()
  }

  /** Resolves when nothing is under way in the VM. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#looks.abort()
    await this.#questions?.cure?.close()
  }

  async #lookRepeatedly(questions: Questions, signal: AbortSignal): Promise<void> {
    try {
      let isFound = false
      for (const pause of LOOKS_MS) {
        await sleep(pause, undefined, { signal })
        const { filters, revivals } = await this.#turns.take(() => this.#look(questions))
        isFound ||= filters > 0
        if (revivals.some(({ failure }) => failure !== undefined)) return
      }
      // The monitor may be that of another VM.
      if (!isFound) this.#advise()
    } catch (error) {
      if (signal.aborted) return
      // A lost monitor is told elsewhere, and looked at again when it is there.
      this.#printer.detail(
        `cannot see who is at the other end of ${this.#own.stream} in the VM: ${TapferryError.from(error).message}`,
      )
    }
  }

  async #look({ monitor, otherEnd, cure }: Questions): Promise<{ filters: number; revivals: Revival[] }> {
    const filters = await otherEnd.filters()
    const revivals = (await cure?.revive(filters)) ?? []
    for (const revival of revivals) this.#tellRevival(revival)
    for (const filter of filters) {
      const mismatch = await compareHeaders(monitor, filter, this.#own)
      if (mismatch !== undefined) this.#tellMismatch(mismatch)
    }
    return { filters: filters.length, revivals }
  }

  /** A peer of outdev has left and is back, and nobody could look whether it hears. */
  #advise(): void {
    if (this.#role === 'indev' || !this.#peerIsBack || this.#advised) return
    this.#advised = true
    this.#printer.notice(`${this.#own.stream}: ${ADVICE}`)
  }

  #tellRevival({ filter, chardev, netdev, failure }: Revival): void {
    if (this.#closing.signal.aborted) return
    const printer = this.#printer
    const about = { stream: this.#own.stream, filter, chardev }
    if (failure === undefined) {
      this.#told.delete(`deaf ${filter}`)
      const message = `filter-redirector '${filter}' on ${netdev} of the VM was deaf to ${about.stream}, and was made anew: it hears again`
      printer.event(message, nowNs())
      printer.record('event', { event: 'peer_revived', message, ...about })
      return
    }
    this.#warnOnce(`deaf ${filter}`, {
      event: 'peer_deaf',
      message: failure.message,
      hint: failure.hint,
      ...about,
    })
  }

  #tellMismatch({ filter, chardev, setting, wanted, message, hint }: Mismatch): void {
    const event = {
      event: 'peer_mismatch',
      message,
      hint,
      stream: this.#own.stream,
      filter,
      chardev,
      setting,
    }
    this.#warnOnce(`${setting} ${wanted} ${filter}`, event)
  }

  #warnOnce(key: string, event: RecordFields & { message: string; hint: string | undefined }): void {
    if (this.#closing.signal.aborted || this.#told.has(key)) return
    this.#told.add(key)
    this.#printer.warning(event.message, nowNs())
    this.#printer.hint(event.hint)
    this.#printer.record('event', event)
  }
}
