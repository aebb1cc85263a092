/**
 * Sees to it that the VM behind outdev hears us: what to do, and to tell, when its peer comes and goes. What deafness
 * is, and the cure, is in ts/vm/deafness.ts; without a monitor there is only the advice.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { RedirectorEventType } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import type { Monitor } from '../monitor/index.ts'
import { nowNs } from '../output/format.ts'
import type { Printer } from '../output/printer.ts'
import { formatStreamAddress } from '../stream/address.ts'
import { DeafnessCure, type Revival } from '../vm/deafness.ts'
import type { StreamPlan } from './ends.ts'

/**
 * Pauses before each look. The next connection may be made before a busy QEMU knows that the last one has ended, and
 * only then does it become deaf, cured or not.
 */
const LOOKS_MS = [0, 100, 1000]

/** Whom nobody could ask, and what an operator can do. */
const ADVICE =
  'a filter-redirector of QEMU up to 10.0 does not hear a peer that comes back: give the --qmp of its VM, ' +
  'or make it anew there (object-del, object-add)'

export class Hearing {
  readonly #stream: string
  readonly #printer: Printer
  readonly #cure: DeafnessCure | undefined
  readonly #closing = new AbortController()
  /** Aborted by the next one: the looks that are under way. */
  #looks = new AbortController()
  #peerHasLeft = false
  #advised = false
  /** Filters whose cure failed: told once. */
  readonly #hopeless = new Set<string>()

  constructor(outdev: StreamPlan, monitor: Monitor | undefined, printer: Printer) {
    this.#stream = formatStreamAddress(outdev.address)
    this.#printer = printer
    this.#cure = monitor === undefined ? undefined : new DeafnessCure(monitor, outdev)
  }

  /** To be called when all is ready, and when a monitor is there again: the VM may have been deaf before. */
  check(): void {
    const cure = this.#cure
    if (cure === undefined || this.#closing.signal.aborted) return
    this.#looks.abort()
    this.#looks = new AbortController()
    void this.#lookRepeatedly(cure, this.#looks.signal)
  }

  onRedirectorEvent(type: RedirectorEventType): void {
    if (type === 'output_missing') this.#peerHasLeft = true
    // Also when it leaves: what is deaf may be cured before the peer is back.
    if (type === 'output_missing' || type === 'output_back') this.check()
    if (type !== 'output_back' || this.#cure !== undefined || !this.#peerHasLeft || this.#advised) return
    this.#advised = true
    this.#printer.notice(`${this.#stream}: ${ADVICE}`)
  }

  close(): void {
    this.#closing.abort()
    this.#looks.abort()
  }

  async #lookRepeatedly(cure: DeafnessCure, signal: AbortSignal): Promise<void> {
    try {
      for (const pause of LOOKS_MS) {
        await sleep(pause, undefined, { signal })
        const revivals = await cure.look()
        for (const revival of revivals) this.#tell(revival)
        if (revivals.some(({ failure }) => failure !== undefined)) return
      }
    } catch (error) {
      if (signal.aborted) return
      // A lost monitor is told elsewhere, and looked at again when it is there.
      this.#printer.detail(
        `cannot see whether the VM hears ${this.#stream}: ${TapferryError.from(error).message}`,
      )
    }
  }

  #tell({ filter, chardev, netdev, failure }: Revival): void {
    if (this.#closing.signal.aborted) return
    const printer = this.#printer
    const about = { stream: this.#stream, filter, chardev }
    if (failure === undefined) {
      this.#hopeless.delete(filter)
      const message = `filter-redirector '${filter}' on ${netdev} of the VM was deaf to ${this.#stream}, and was made anew: it hears again`
      printer.event(message, nowNs())
      printer.record('event', { event: 'peer_revived', message, ...about })
      return
    }
    if (this.#hopeless.has(filter)) return
    this.#hopeless.add(filter)
    printer.warning(failure.message, nowNs())
    printer.hint(failure.hint)
    printer.record('event', { event: 'peer_deaf', message: failure.message, hint: failure.hint, ...about })
  }
}
