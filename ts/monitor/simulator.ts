/**
 * A VM's QMP monitor without a VM, as QEMU 7.2 behaves on the wire: a greeting first, only qmp_capabilities
 * before it is negotiated, one client at a time (the next one gets its greeting when the first has left),
 * events with time stamps, STOP before the answer to `stop`, CR LF at every end.
 *
 * Its faults can be switched on one by one: a peer that is silent, slow, talks nonsense, hangs up or sends its
 * bytes in pieces.
 */

import { createServer, type Server, type Socket } from 'node:net'
import { type MonitorAddress, parseMonitorAddress } from './address.ts'
import { Framer, type JsonObject, WireError } from './wire.ts'

export interface SimulatorOptions {
  /** As for Monitor; port 0 is not an address, so a TCP port has to be chosen. */
  readonly address: string
  /** Default true. */
  readonly running?: boolean
  /** What the human monitor answers to `info network`, lines ended by CR LF. */
  readonly infoNetwork?: string
  /** More commands: what each answers, or a SimulatedError that it throws. */
  readonly commands?: Readonly<Record<string, SimulatedCommand>>
}

export type SimulatedCommand = (args: Readonly<Record<string, unknown>>) => object | string | number | boolean

/** Everything here may be changed at any time; what is absent is as QEMU does it. */
export interface SimulatorFaults {
  /** Instead of a greeting: nothing, the end of the connection, or this text. */
  greeting?: 'silent' | 'close' | { readonly text: string }
  /** Commands are taken and never answered, as by a stopped process. */
  mute?: boolean
  /** Every answer comes this much later. Events do not. */
  answerDelayMs?: number
  /** Bytes of one write, each in its own turn of the event loop. */
  pieceBytes?: number
  /** Between an answer's making and its sending: what happens here is newer and is sent first. */
  beforeAnswer?: (command: string) => void
  /** Right after an answer was sent, in the same turn. */
  afterAnswer?: (command: string) => void
}

export class QmpSimulator {
  /** To be given to Monitor.connect. */
  readonly address: string
  readonly faults: SimulatorFaults = {}
  infoNetwork: string
  readonly #commands: Readonly<Record<string, SimulatedCommand>>
  #running: boolean
  #status: string
  readonly #where: MonitorAddress
  readonly #server: Server
  /** The first one is served, the rest wait. */
  #clients: SimulatedClient[] = []

  /** Resolves when it listens. */
  static async listen(options: SimulatorOptions): Promise<QmpSimulator> {
    const simulator = new QmpSimulator(options)
    await simulator.#listen()
    return simulator
  }

  private constructor(options: SimulatorOptions) {
    this.address = options.address
    this.infoNetwork = options.infoNetwork ?? ''
    this.#commands = options.commands ?? {}
    this.#where = parseMonitorAddress(options.address)
    this.#running = options.running ?? true
    this.#status = this.#running ? 'running' : 'paused'
    this.#server = createServer({ noDelay: true }, socket => this.#welcome(socket))
  }

  get running(): boolean {
    return this.#running
  }

  /** Connections, the waiting ones included. */
  get clients(): number {
    return this.#clients.length
  }

  /** The VM stops, with one of QEMU's statuses (`paused`, `finish-migrate`, ...); STOP if it was running. */
  stopVm(status = 'paused'): void {
    const wasRunning = this.#running
    this.#running = false
    this.#status = status
    if (wasRunning) this.emit('STOP')
  }

  /** The VM goes on; RESUME if it was stopped. */
  resumeVm(): void {
    const wasRunning = this.#running
    if (!wasRunning) this.emit('RESUME')
    this.#running = true
    this.#status = 'running'
  }

  /** The run state changes without STOP and RESUME, as when a guest suspends. */
  setStatus(status: string): void {
    this.#status = status
    this.#running = status === 'running'
  }

  emit(event: string, data?: object, timestamp: object = wallClock()): void {
    this.#clients[0]?.sendEvent({ timestamp, event, data })
  }

  /** Raw bytes to the client that is served. */
  sendRaw(text: string): void {
    this.#clients[0]?.send(text)
  }

  /** Ends the connection that is served, as a QEMU does that is killed. */
  dropClient(): void {
    this.#clients[0]?.end()
  }

  /** Ends every connection and stops listening. */
  async close(): Promise<void> {
    for (const client of [...this.#clients]) client.end()
    await new Promise<void>(resolve => {
      this.#server.close(() => resolve())
    })
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.once('listening', () => resolve())
      if (this.#where.kind === 'unix') this.#server.listen({ path: this.#where.path })
      else this.#server.listen({ host: this.#where.host, port: this.#where.port })
    })
  }

  #welcome(socket: Socket): void {
    const client = new SimulatedClient(socket, this.faults, {
      execute: (command, args) => this.#execute(command, args),
      gone: () => {
        const wasServed = this.#clients[0] === client
        this.#clients = this.#clients.filter(other => other !== client)
        if (wasServed) this.#clients[0]?.greet()
      },
    })
    this.#clients.push(client)
    if (this.#clients[0] === client) client.greet()
  }

  /** The value of `return`, or an error. */
  #execute(command: string, args: Readonly<Record<string, unknown>>): unknown {
    switch (command) {
      case 'query-status':
        return { status: this.#status, singlestep: false, running: this.#running }
      case 'stop':
        this.stopVm()
        return {}
      case 'cont':
        this.resumeVm()
        return {}
      case 'system_reset':
        this.emit('RESET', { guest: false, reason: 'host-qmp-system-reset' })
        return {}
      case 'quit':
        this.emit('SHUTDOWN', { guest: false, reason: 'host-qmp-quit' })
        setImmediate(() => this.close())
        return {}
      case 'human-monitor-command':
        if (args['command-line'] === 'info network') return this.infoNetwork
        return `unknown command: '${String(args['command-line'])}'\r\n`
      default:
        return this.#executeAnother(command, args)
    }
  }

  #executeAnother(command: string, args: Readonly<Record<string, unknown>>): unknown {
    const another = this.#commands[command]
    if (another === undefined) {
      return new SimulatedError('CommandNotFound', `The command ${command} has not been found`)
    }
    try {
      return another(args)
    } catch (error) {
      if (error instanceof SimulatedError) return error
      throw error
    }
  }
}

/** What a command is refused with. */
export class SimulatedError {
  readonly class: string
  readonly desc: string

  constructor(errorClass: string, desc: string) {
    this.class = errorClass
    this.desc = desc
  }
}

interface ClientOwner {
  execute(command: string, args: Readonly<Record<string, unknown>>): unknown
  gone(): void
}

/** One connection, served or waiting. */
class SimulatedClient {
  readonly #socket: Socket
  readonly #faults: SimulatorFaults
  readonly #owner: ClientOwner
  readonly #framer = new Framer()
  #phase: 'waiting' | 'greeted' | 'negotiated' | 'gone' = 'waiting'
  /** What came before the greeting is read after it. */
  #unread: Buffer[] = []
  /** Keeps pieces in order. */
  #writes: Promise<void> = Promise.resolve()

  constructor(socket: Socket, faults: SimulatorFaults, owner: ClientOwner) {
    this.#socket = socket
    this.#faults = faults
    this.#owner = owner
    socket.on('data', chunk => this.#receive(chunk))
    socket.on('error', () => {})
    socket.on('close', () => this.#leave())
  }

  greet(): void {
    const { greeting } = this.#faults
    if (greeting === 'silent') return
    if (greeting === 'close') {
      this.end()
      return
    }
    if (greeting !== undefined) {
      this.send(greeting.text)
      return
    }
    this.#phase = 'greeted'
    this.#write({
      QMP: {
        version: { qemu: { micro: 22, minor: 2, major: 7 }, package: 'tapferry simulator' },
        capabilities: ['oob'],
      },
    })
    const unread = this.#unread
    this.#unread = []
    for (const chunk of unread) this.#receive(chunk)
  }

  sendEvent(event: object): void {
    if (this.#phase === 'negotiated') this.#write(event)
  }

  send(text: string): void {
    const bytes = Buffer.from(text)
    const size = this.#faults.pieceBytes ?? bytes.length
    this.#writes = this.#writes.then(async () => {
      for (let at = 0; at < bytes.length; at += size) {
        if (at > 0) await new Promise(resolve => setImmediate(resolve))
        if (!this.#socket.destroyed) this.#socket.write(bytes.subarray(at, at + size))
      }
    })
  }

  /** What was sent before still arrives. */
  end(): void {
    this.#writes = this.#writes.then(() => {
      this.#socket.end(() => this.#socket.destroy())
    })
    this.#leave()
  }

  #leave(): void {
    if (this.#phase === 'gone') return
    this.#phase = 'gone'
    this.#owner.gone()
  }

  #write(message: object): void {
    this.send(`${JSON.stringify(message)}\r\n`)
  }

  #receive(chunk: Buffer): void {
    if (this.#phase === 'waiting') {
      this.#unread.push(chunk)
      return
    }
    try {
      for (const message of this.#framer.push(chunk)) this.#answer(message as Request)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      this.#write({ error: { class: 'GenericError', desc: 'JSON parse error' } })
      this.end()
    }
  }

  #answer(request: Request): void {
    if (this.#faults.mute === true || this.#phase === 'gone') return
    const command = String(request.execute)
    const answer = { ...this.#resultOf(command, request.arguments ?? {}), id: request.id }
    this.#faults.beforeAnswer?.(command)
    const delay = this.#faults.answerDelayMs ?? 0
    if (delay === 0) this.#write(answer)
    else setTimeout(() => this.#write(answer), delay).unref()
    this.#faults.afterAnswer?.(command)
  }

  #resultOf(
    command: string,
    args: Readonly<Record<string, unknown>>,
  ): { return: unknown } | { error: SimulatedError } {
    if (command === 'qmp_capabilities' && this.#phase === 'greeted') {
      this.#phase = 'negotiated'
      return { return: {} }
    }
    if (this.#phase === 'greeted') {
      return { error: new SimulatedError('CommandNotFound', `Expecting capabilities negotiation`) }
    }
    const result = this.#owner.execute(command, args)
    return result instanceof SimulatedError ? { error: result } : { return: result }
  }
}

interface Request extends JsonObject {
  readonly execute?: unknown
  readonly arguments?: Readonly<Record<string, unknown>>
}

/** QEMU's form of CLOCK_REALTIME: the clock's own millisecond, with what finer digits the process has. */
function wallClock(): { seconds: number; microseconds: number } {
  const coarse = Date.now()
  const fine = performance.timeOrigin + performance.now()
  const ms = Math.min(Math.max(fine, coarse), coarse + 0.999)
  return { seconds: Math.floor(ms / 1000), microseconds: Math.floor((ms % 1000) * 1000) }
}
