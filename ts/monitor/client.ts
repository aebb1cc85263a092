/**
 * One QMP connection: greeting, negotiation, commands and their answers, events.
 *
 * Every command carries an `id`. Unknown keys, unknown ids (a late answer to a command that was given up) and
 * messages of unknown kinds are ignored. A connection ends once, with a reason, and is never used again.
 */

import type { Socket } from 'node:net'
import type { MonitorAddress } from './address.ts'
import { dial } from './dial.ts'
import { hungUp, lost, NoAnswer, notQmp, QmpError, timedOut } from './failures.ts'
import { Framer, type JsonObject, WireError } from './wire.ts'

/** After the greeting's time-out: time for a peer that only speaks when spoken to (HTTP) to show itself. */
const PROBE_MS = 250

export interface QmpEvent {
  readonly name: string
  readonly data: unknown
  /** The sender's CLOCK_REALTIME in ns; absent when QEMU could not read its clock. */
  readonly timeNs: bigint | undefined
}

/** Called on the socket's turn, in the order of the wire. */
export interface QmpHandlers {
  event(event: QmpEvent): void
  /** Once, when a negotiated connection ends for any reason but close(). */
  lost(reason: string): void
}

interface Pending {
  readonly command: string
  readonly timer: NodeJS.Timeout
  resolve(value: unknown): void
  reject(error: Error): void
}

export class QmpClient {
  readonly socket: Socket
  readonly #address: MonitorAddress
  readonly #handlers: QmpHandlers
  readonly #framer = new Framer()
  readonly #pending = new Map<number, Pending>()
  #nextId = 1
  #phase: 'greeting' | 'negotiating' | 'ready' | 'closed' = 'greeting'
  /** Tells negotiate() how the greeting went. */
  #greeted: (outcome: Error | 'greeted') => void = () => {}

  /** Dials and negotiates; `timeoutMs` bounds the connect and the greeting together. */
  static async open(
    address: MonitorAddress,
    options: { timeoutMs: number; signal: AbortSignal },
    handlers: QmpHandlers,
  ): Promise<QmpClient> {
    const started = performance.now()
    const socket = await dial(address, options.timeoutMs, options.signal)
    const client = new QmpClient(address, socket, handlers)
    const onAbort = (): void => client.close()
    options.signal.addEventListener('abort', onAbort)
    try {
      await client.#negotiate(options.timeoutMs, started)
      return client
    } catch (error) {
      client.close()
      options.signal.throwIfAborted()
      throw error
    } finally {
      options.signal.removeEventListener('abort', onAbort)
    }
  }

  private constructor(address: MonitorAddress, socket: Socket, handlers: QmpHandlers) {
    this.#address = address
    this.#handlers = handlers
    this.socket = socket
    socket.on('data', chunk => this.#receive(chunk))
    socket.on('end', () => this.#end('the VM closed the connection'))
    socket.on('error', error => this.#end(error.message))
    socket.on('close', () => this.#end('the connection was closed'))
  }

  /** Rejects with QmpError, MONITOR_LOST or MONITOR_TIMEOUT; an answer after the time-out is ignored. */
  command(name: string, args: object | undefined, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#phase === 'closed') {
        reject(lost(this.#address, 'the connection is closed'))
        return
      }
      const id = this.#nextId++
      const timer = setTimeout(() => {
        this.#pending.delete(id)
        reject(timedOut(this.#address, name, timeoutMs))
      }, timeoutMs)
      this.#pending.set(id, { command: name, timer, resolve, reject })
      this.socket.write(`${JSON.stringify({ execute: name, arguments: args, id })}\n`)
    })
  }

  /** Idempotent; pending commands reject with MONITOR_LOST. */
  close(): void {
    this.#shut('the connection was closed')
  }

  async #negotiate(timeoutMs: number, started: number): Promise<void> {
    let outcome = await this.#greeting(started + timeoutMs - performance.now())
    // A busy QEMU reads this when our turn comes, if it ever does: harmless.
    const probe = outcome === undefined ? this.command('qmp_capabilities', undefined, timeoutMs) : undefined
    probe?.catch(() => {})
    outcome ??= await this.#greeting(PROBE_MS)
    if (outcome === undefined) throw new NoAnswer('greeting')
    if (outcome instanceof Error) throw outcome
    await (probe ?? this.command('qmp_capabilities', undefined, timeoutMs))
    this.#phase = 'ready'
  }

  /** Undefined: nothing came in time. */
  #greeting(timeoutMs: number): Promise<Error | 'greeted' | undefined> {
    return new Promise(resolve => {
      const timer = setTimeout(() => resolve(undefined), Math.max(timeoutMs, 0))
      this.#greeted = outcome => {
        clearTimeout(timer)
        resolve(outcome)
      }
    })
  }

  #receive(chunk: Buffer): void {
    try {
      for (const message of this.#framer.push(chunk)) {
        // A handler may have closed this connection.
        if (this.#phase === 'closed') return
        this.#dispatch(message)
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      this.#greeted(notQmp(this.#address, error.sample))
      this.#end(`it sent what is not QMP (${error.message}): '${error.sample}'`)
    }
  }

  #dispatch(message: JsonObject): void {
    if (this.#phase === 'greeting') {
      if (!('QMP' in message)) {
        this.#greeted(notQmp(this.#address, JSON.stringify(message)))
        return
      }
      // At once: the answer to a probe may follow in the same chunk.
      this.#phase = 'negotiating'
      this.#greeted('greeted')
      return
    }
    const { event, data, timestamp } = message
    if (typeof event === 'string') {
      this.#handlers.event({ name: event, data, timeNs: timestampNs(timestamp) })
      return
    }
    this.#answer(message)
  }

  #answer(message: JsonObject): void {
    const { id, error } = message
    const pending = typeof id === 'number' ? this.#pending.get(id) : undefined
    if (typeof id !== 'number' || pending === undefined) return
    this.#pending.delete(id)
    clearTimeout(pending.timer)
    if (error === undefined) pending.resolve(message.return)
    else pending.reject(qmpError(pending.command, error))
  }

  /** The peer's end of it. */
  #end(reason: string): void {
    if (this.#phase === 'closed') return
    const wasReady = this.#phase === 'ready'
    this.#shut(reason)
    if (wasReady) this.#handlers.lost(reason)
  }

  #shut(reason: string): void {
    if (this.#phase === 'closed') return
    const when = this.#phase === 'greeting' ? 'before its greeting' : 'while negotiating'
    this.#phase = 'closed'
    this.socket.destroy()
    this.#greeted(hungUp(this.#address, when))
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer)
      reject(lost(this.#address, reason))
    }
    this.#pending.clear()
  }
}

function qmpError(command: string, error: unknown): QmpError {
  const { class: errorClass, desc } = (error ?? {}) as { class?: unknown; desc?: unknown }
  return new QmpError(command, String(errorClass ?? 'GenericError'), String(desc ?? 'no reason given'))
}

/** QEMU sends -1 for both parts when it cannot read its clock. */
function timestampNs(timestamp: unknown): bigint | undefined {
  const { seconds, microseconds } = (timestamp ?? {}) as { seconds?: unknown; microseconds?: unknown }
  if (!Number.isSafeInteger(seconds) || !Number.isSafeInteger(microseconds)) return undefined
  if (Number(seconds) < 0 || Number(microseconds) < 0) return undefined
  return BigInt(Number(seconds)) * 1_000_000_000n + BigInt(Number(microseconds)) * 1_000n
}
