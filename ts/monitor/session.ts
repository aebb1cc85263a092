/**
 * One connection and the VM's run state on it. open() resolves once query-status has answered.
 *
 * Events that come before an owner is attached are kept and told then. An ended session is never used again;
 * the next connection starts with an unknown state.
 */

import type { Socket } from 'node:net'
import type { MonitorAddress } from './address.ts'
import { QmpClient, type QmpEvent } from './client.ts'
import {
  leavesStatusOpen,
  onRunStateEvent,
  onStatusAnswer,
  type RunState,
  type StatusAnswer,
  UNKNOWN_RUN_STATE,
} from './run-state.ts'

export interface SessionOwner {
  /** In the order of the wire, with `state` moved already. */
  event(event: QmpEvent): void
  /** `state` may have changed by an answer. */
  answered(): void
  /** Once, and the last call. */
  lost(reason: string): void
}

export class Session {
  readonly openedAt = performance.now()
  readonly #timeoutMs: number
  #client: QmpClient | undefined
  #state = UNKNOWN_RUN_STATE
  #owner: SessionOwner | undefined
  #early: QmpEvent[] = []
  #endReason: string | undefined
  /** A question is under way, and whether its answer will be out of date. */
  #asking = false
  #askAgain = false

  static async open(address: MonitorAddress, timeoutMs: number, signal: AbortSignal): Promise<Session> {
    const session = new Session(timeoutMs)
    const client = await QmpClient.open(
      address,
      { timeoutMs, signal },
      { event: event => session.#onEvent(event), lost: reason => session.#onLost(reason) },
    )
    session.#client = client
    const onAbort = (): void => client.close()
    signal.addEventListener('abort', onAbort)
    try {
      await session.#ask(client)
      return session
    } catch (error) {
      client.close()
      signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  private constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  get state(): RunState {
    return this.#state
  }

  get socket(): Socket | undefined {
    return this.#client?.socket
  }

  attach(owner: SessionOwner): void {
    this.#owner = owner
    const early = this.#early
    this.#early = []
    for (const event of early) owner.event(event)
    if (this.#endReason !== undefined) owner.lost(this.#endReason)
    else if (this.#askAgain) this.#refresh()
  }

  command(name: string, args: object | undefined, timeoutMs: number): Promise<unknown> {
    if (this.#client === undefined) throw new TypeError('a command before the session is open')
    return this.#client.command(name, args, timeoutMs)
  }

  /** Ends it without a word to the owner. */
  close(): void {
    this.#owner = undefined
    this.#client?.close()
  }

  async #ask(client: QmpClient): Promise<void> {
    const askedAt = this.#state.transitions
    this.#asking = true
    this.#askAgain = false
    try {
      const answer = await client.command('query-status', undefined, this.#timeoutMs)
      this.#state = onStatusAnswer(this.#state, askedAt, toStatusAnswer(answer))
    } finally {
      this.#asking = false
    }
  }

  /** Asks again, for an event that said less than query-status does. One question at a time. */
  #refresh(): void {
    if (this.#asking || this.#client === undefined) {
      this.#askAgain = true
      return
    }
    this.#ask(this.#client).then(
      () => {
        this.#owner?.answered()
        if (this.#askAgain) this.#refresh()
      },
      // Without an answer the events' word stands; the end of the connection is told by lost().
      () => {},
    )
  }

  #onEvent(event: QmpEvent): void {
    this.#state = onRunStateEvent(this.#state, event.name, event.timeNs)
    if (leavesStatusOpen(event.name)) this.#refresh()
    if (this.#owner === undefined) this.#early.push(event)
    else this.#owner.event(event)
  }

  #onLost(reason: string): void {
    this.#endReason = reason
    this.#owner?.lost(reason)
  }
}

function toStatusAnswer(answer: unknown): StatusAnswer {
  const { running, status } = (answer ?? {}) as { running?: unknown; status?: unknown }
  return { running: running === true, status: String(status) }
}
