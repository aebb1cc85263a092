/**
 * A QEMU filter-redirector up to 10.0 is deaf once the peer of its indev has left: it lets go of the chardev, which
 * goes on listening or connecting, so a peer that comes back is welcomed and never heard. query-chardev shows it:
 * `frontend-open` is false. The filter made anew (object-del, object-add) hears, from the first byte that waits in
 * the socket, and starts between two records. (An outdev of QEMU's needs no help: its writer looks at each frame.)
 *
 * Measured on QEMU 7.2, for unix and TCP, server and client. Only a filter-redirector whose indev is the other end
 * of our stream and which is deaf is touched: one that hears may be within a record. Nor one that is switched off.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { TapferryError } from '../errors.ts'
import type { Monitor } from '../monitor/index.ts'
import { filterOrder, sameAgain } from './filters.ts'
import type { OppositeFilter, OtherEnd } from './other-end.ts'

/** QEMU makes a filter within a few milliseconds. */
const LAST_WAIT_MS = 500

/** What became of a filter that was deaf. */
export interface Revival {
  readonly filter: string
  readonly chardev: string
  readonly netdev: string
  /** Absent: it hears again. */
  readonly failure?: TapferryError
}

/** Whether a filter at the other end of our outdev should hear us and does not. Pure. */
export function isDeaf({ filter, listens }: OppositeFilter): boolean {
  return filter.properties['status'] === 'on' && !listens
}

export class DeafnessCure {
  readonly #monitor: Monitor
  readonly #otherEnd: OtherEnd
  /** The filter that is being made anew. */
  #making: Promise<unknown> = Promise.resolve()
  #closed = false

  /** `otherEnd`: that of our outdev. */
  constructor(monitor: Monitor, otherEnd: OtherEnd) {
    this.#monitor = monitor
    this.#otherEnd = otherEnd
  }

  /** Makes those hear again that are deaf. Rejects with what Monitor.command rejects with. */
  async revive(filters: readonly OppositeFilter[]): Promise<Revival[]> {
    const suspects = filters.filter(isDeaf)
    if (suspects.length === 0) return []
    // One that was plugged in while we looked listens by now.
    const listening = await this.#otherEnd.listening()
    const deaf = suspects.filter(({ chardev }) => !listening.has(chardev))
    const revivals: Revival[] = []
    for (const filter of deaf) {
      if (this.#closed) break
      revivals.push(await this.#makeAnew(filter))
    }
    return revivals
  }

  /**
   * Begins nothing more. Resolves when no filter is half made, so that a monitor that is closed then has deleted
   * none; but a VM that is frozen is not waited for.
   */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.race([this.#making.catch(() => {}), sleep(LAST_WAIT_MS, undefined, { ref: false })])
  }

  async #makeAnew({ filter, netdev, chardev }: OppositeFilter): Promise<Revival> {
    const { id } = filter
    const about = { filter: id, chardev, netdev }
    const text = await this.#monitor.command<string>('human-monitor-command', {
      'command-line': 'info network',
    })
    const anew = sameAgain(filter, filterOrder(text, netdev))
    if (this.#closed) return about
    try {
      // At once behind each other, so that frames of the netdev miss it for as short as can be.
      this.#making = Promise.all([
        this.#monitor.command('object-del', { id }),
        this.#monitor.command('object-add', anew),
      ])
      await this.#making
      const hears = (await this.#otherEnd.listening()).has(chardev)
      return hears ? about : { ...about, failure: stillDeaf(about) }
    } catch (error) {
      return { ...about, failure: refused(about, anew, error) }
    }
  }
}

type Deaf = Omit<Revival, 'failure'>

function stillDeaf({ filter, chardev }: Deaf): TapferryError {
  return new TapferryError(
    'FILTER_DEAF',
    `filter-redirector '${filter}' of the VM does not hear its indev '${chardev}', and making it anew did not help`,
    `look at it in the VM's monitor: query-chardev, qom-list /objects/${filter}`,
  )
}

function refused({ filter, chardev }: Deaf, anew: object, cause: unknown): TapferryError {
  return new TapferryError(
    'FILTER_DEAF',
    `filter-redirector '${filter}' of the VM does not hear its indev '${chardev}', and could not be made anew: ` +
      TapferryError.from(cause).message,
    `if it is gone, make it in the VM's monitor: object-add ${JSON.stringify(anew)}`,
    { cause },
  )
}
