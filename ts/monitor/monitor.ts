/**
 * The VM watch: one monitor for as long as it takes, over as many connections as it takes.
 *
 * connect() resolves once query-status has answered, so `running` is known from then on. A lost monitor keeps
 * the state as it was and is tried again for ever; `lost` is told once, `regained` after query-status has
 * answered on the new connection, and then a run_state if the VM's state is another one.
 *
 * Invariants: listeners are told every change of `running` exactly once, in order; run_state and vm_event are
 * never told between `lost` and `regained`; nothing is told after close().
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { TapferryError } from '../errors.ts'
import { findListener } from '../host/listeners.ts'
import type { ProcessState } from '../host/processes.ts'
import { formatMonitorAddress, type MonitorAddress, parseMonitorAddress } from './address.ts'
import { Backoff, SETTLED_MS } from './backoff.ts'
import type { QmpEvent } from './client.ts'
import { isLocalPeer } from './dial.ts'
import { frozen, hungUp, lost, mayPass, NoAnswer, silent } from './failures.ts'
import { UNKNOWN_RUN_STATE } from './run-state.ts'
import { Session } from './session.ts'

/** For the connect and the greeting together. QEMU accepts a client only once it saw the last one hang up. */
export const CONNECT_TIMEOUT_MS = 3_000

/** A query waits up to 0.4 s for the migration thread, which holds QEMU's lock; a frozen VM never answers. */
export const COMMAND_TIMEOUT_MS = 5_000

/** Date.now() cuts off what is below a millisecond. */
const CLOCK_GRAIN_NS = 1_000_000n

export interface MonitorOptions {
  /** A unix path or HOST:PORT; also unix:PATH, tcp:HOST:PORT, [V6]:PORT. */
  readonly address: string
  /** For the connect and the greeting together, per attempt. Default 3000. */
  readonly connectTimeoutMs?: number
  /** Wait, without limit, for a monitor that is missing, busy or frozen. */
  readonly wait?: boolean
  /** With `wait`: called when waiting begins, and again when its reason becomes another one. */
  readonly onWaiting?: (reason: TapferryError) => void
  /** Ends connect(), which then rejects with the signal's reason. Means nothing once connected. */
  readonly signal?: AbortSignal
}

export type MonitorEvent =
  /** `running` has changed. `atNs`: CLOCK_REALTIME of the event, only if the VM shares this host's clock. */
  | {
      readonly type: 'run_state'
      readonly running: boolean
      readonly status: string
      readonly atNs?: bigint
      readonly cause: 'query' | 'STOP' | 'RESUME'
    }
  /** Every event but STOP and RESUME. `timeNs`: the VM's clock, or arrival if it sent none. */
  | { readonly type: 'vm_event'; readonly name: string; readonly data: unknown; readonly timeNs: bigint }
  | { readonly type: 'lost'; readonly reason: string }
  /** `status` is that of the new connection; if `running` is another one than before, run_state follows. */
  | { readonly type: 'regained' }

export class Monitor {
  readonly #address: MonitorAddress
  readonly #timeoutMs: number
  readonly #listeners: ((event: MonitorEvent) => void)[] = []
  /** Aborted by close(): ends every wait and every connection attempt. */
  readonly #closing = new AbortController()
  readonly #backoff = new Backoff()
  /** Present while connected; everything else hangs on it. */
  #session: Session | undefined
  #running = false
  #status = UNKNOWN_RUN_STATE.status
  #local = false
  #reconnecting: Promise<void> | undefined
  /** Found for the present session; the next may be another VM's. */
  #process: Promise<ProcessState | undefined> | undefined

  /**
   * Rejects with a TapferryError: MONITOR_NOT_FOUND, MONITOR_REFUSED, MONITOR_PERMISSION, MONITOR_BUSY,
   * MONITOR_FROZEN, MONITOR_NOT_QMP, MONITOR_ADDRESS_INVALID, and MONITOR_TIMEOUT or QMP_ERROR for a VM that
   * greets but does not answer query-status.
   */
  static async connect(options: MonitorOptions): Promise<Monitor> {
    const monitor = new Monitor(options)
    const { signal } = options
    const onAbort = (): void => monitor.#closing.abort(signal?.reason)
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted) onAbort()
    try {
      await monitor.#firstSession(options)
      return monitor
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  private constructor(options: MonitorOptions) {
    this.#address = parseMonitorAddress(options.address)
    this.#timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS
  }

  /** Whether the VM runs; the last known state while the monitor is lost. */
  get running(): boolean {
    return this.#running
  }

  /**
   * QEMU's RunState (`running`, `paused`, `inmigrate`, ...) when the VM last stopped or went on; `stopped`
   * for a moment after a STOP.
   */
  get status(): string {
    return this.#status
  }

  get address(): string {
    return formatMonitorAddress(this.#address)
  }

  /** Whether the VM shares this host's clock: a unix socket, or a listener on an address of this host. */
  get local(): boolean {
    return this.#local
  }

  /** The VM's process, if it is on this host and may be looked at. Slow at first: it looks at all processes. */
  process(): Promise<ProcessState | undefined> {
    this.#process ??= findListener(this.#address)
    return this.#process
  }

  get connected(): boolean {
    return this.#session !== undefined
  }

  /**
   * Events from now on, in order; what came before is in `running` and `status`. Read those in the same turn
   * in which you add the listener, and no change is missed.
   */
  onEvent(listener: (event: MonitorEvent) => void): void {
    this.#listeners.push(listener)
  }

  /** Rejects with QMP_ERROR (a QmpError), MONITOR_LOST or MONITOR_TIMEOUT. Default time-out 5 s. */
  async command<T>(name: string, args?: object, options: { timeoutMs?: number } = {}): Promise<T> {
    if (this.#session === undefined) {
      throw lost(this.#address, this.#closing.signal.aborted ? 'it was closed' : 'it is lost at present')
    }
    const answer = await this.#session.command(name, args, options.timeoutMs ?? COMMAND_TIMEOUT_MS)
    return answer as T
  }

  /** Ends the watch: no event, timer or socket is left. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#session?.close()
    this.#session = undefined
    await this.#reconnecting
  }

  async #firstSession(options: MonitorOptions): Promise<void> {
    let reasonTold: string | undefined
    for (;;) {
      try {
        const session = await this.#openPatiently()
        this.#adopt(session)
        this.#running = session.state.running ?? false
        this.#status = session.state.status
        this.#listen(session)
        return
      } catch (error) {
        if (options.wait !== true || !mayPass(error)) throw error
        const reason = error as TapferryError
        if (reason.code !== reasonTold) options.onWaiting?.(reason)
        reasonTold = reason.code
      }
      await this.#pause()
    }
  }

  /** One attempt, one more if the first met silence, and then a look at why. */
  async #openPatiently(): Promise<Session> {
    try {
      return await this.#open()
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw await this.#explain(error)
    }
    try {
      return await this.#open()
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw await this.#explain(error)
      throw silent(this.#address, error, this.#timeoutMs, await findListener(this.#address))
    }
  }

  /** What a connection that ended or fell silent after its greeting is called. */
  async #explain(error: unknown): Promise<unknown> {
    if (!(error instanceof TapferryError)) return error
    if (error.code === 'MONITOR_LOST') return hungUp(this.#address, 'while negotiating')
    if (error.code !== 'MONITOR_TIMEOUT') return error
    const listener = await findListener(this.#address)
    return listener?.frozen ? frozen(this.#address, listener, error) : error
  }

  #open(): Promise<Session> {
    return Session.open(this.#address, this.#timeoutMs, this.#closing.signal)
  }

  /** What the present session says is heard; `lost` is told from here, too. */
  #adopt(session: Session): void {
    const { signal } = this.#closing
    if (signal.aborted) {
      session.close()
      signal.throwIfAborted()
    }
    this.#session = session
    this.#local = session.socket !== undefined && isLocalPeer(this.#address, session.socket)
  }

  /** The owner's side of a session: to be called once its state has been told. */
  #listen(session: Session): void {
    session.attach({
      event: event => this.#forward(session, event),
      answered: () => this.#follow(session),
      lost: reason => this.#lose(session, reason),
    })
  }

  #forward(session: Session, event: QmpEvent): void {
    if (event.name === 'STOP' || event.name === 'RESUME') {
      this.#follow(session)
      return
    }
    const timeNs = event.timeNs ?? nowNs()
    this.#emit({ type: 'vm_event', name: event.name, data: event.data, timeNs })
  }

  /** Tells the session's run state if `running` is another one than was told last. */
  #follow(session: Session): void {
    const { running, status, cause, atNs } = session.state
    this.#status = status
    if (running === undefined || running === this.#running) return
    this.#running = running
    const trusted = this.#local && atNs !== undefined && atNs <= nowNs() + CLOCK_GRAIN_NS
    this.#emit({ type: 'run_state', running, status, cause, ...(trusted ? { atNs } : {}) })
  }

  #lose(session: Session, reason: string): void {
    this.#session = undefined
    this.#process = undefined
    if (performance.now() - session.openedAt >= SETTLED_MS) this.#backoff.reset()
    this.#emit({ type: 'lost', reason })
    this.#reconnecting = this.#reconnect()
  }

  async #reconnect(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      let session: Session
      try {
        await this.#pause()
        session = await this.#open()
        this.#adopt(session)
      } catch {
        // Whatever stands in the way may pass, and `lost` has been told.
        continue
      }
      this.#regain(session)
      return
    }
  }

  #regain(session: Session): void {
    // It is another VM, perhaps: what its state was before the loss is nothing to tell with its return.
    this.#status = session.state.status
    this.#emit({ type: 'regained' })
    this.#follow(session)
    this.#listen(session)
  }

  async #pause(): Promise<void> {
    const { signal } = this.#closing
    await sleep(this.#backoff.next(), undefined, { signal }).catch(() => signal.throwIfAborted())
  }

  #emit(event: MonitorEvent): void {
    for (const listener of this.#listeners) {
      if (!this.#closing.signal.aborted) listener(event)
    }
  }
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n
}
