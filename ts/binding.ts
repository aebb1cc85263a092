/**
 * What the native addon (crates/node) offers, as types only. ts/native.ts loads it; nothing else may.
 */

export type Queue = 'tx' | 'rx' | 'all'
export type Latency = 'balanced' | 'low'
/** enable_when_stopped=off, enable_when_stopped=on, only-when-stopped. */
export type WhenStopped = 'off' | 'on' | 'only'

export interface RedirectorOptions {
  /** Host interface names. */
  inNetdev: string
  outNetdev: string
  /** Their network namespaces: paths such as `/run/netns/NAME` or `/proc/PID/ns/net`; absent: this process's own. */
  inNetns?: string
  outNetns?: string
  queue: Queue
  latency: Latency
  /** status=on|off */
  status: boolean
  whenStopped: WhenStopped
  /** The VM's run state as known at the start; true without a monitor. */
  running: boolean
  preRollMs: number
  preRollBytes: number
  /** SO_MARK on every injected frame. */
  mark: number
  /** Wait for missing interfaces instead of failing. */
  wait: boolean
  /** Forward at most this many frames, then report `count_reached`. */
  count?: number
}

export type RedirectorEventType =
  | 'ready'
  | 'waiting'
  | 'input_down'
  | 'input_up'
  | 'output_down'
  | 'output_up'
  | 'input_missing'
  | 'input_back'
  | 'output_missing'
  | 'output_back'
  | 'gate_opened'
  | 'gate_closed'
  | 'warning'
  | 'clock_stepped'
  | 'count_reached'
  | 'failed'

export interface RedirectorEvent {
  type: RedirectorEventType
  /** CLOCK_REALTIME. */
  timeNs: bigint
  /** One line for people, without time and without newline. */
  message: string
  /** A stable code, for `warning` and `failed`. */
  code?: string
  netdev?: string
}

/** A snapshot in which captured = forwarded + sum(dropped) + held, exactly. */
export interface Statistics {
  inNetdev: string
  outNetdev: string
  gate: 'open' | 'closed'
  status: boolean
  running: boolean
  /** How frames are captured at this moment. */
  engine: 'ring' | 'socket' | 'closed'
  captured: number
  capturedBytes: number
  forwarded: number
  forwardedBytes: number
  /** The part of `forwarded` that left before the gate's closing was known, although stamped after it. */
  forwardedLate: number
  held: number
  heldBytes: number
  /** Reason -> frames; every reason is present. */
  dropped: Record<string, number>
  /** Growth of out_netdev's tx_dropped, by all senders; outside the sum. */
  lostAtOutput: number
  inputOutages: number
  outputOutages: number
  inputOutageMs: number
  outputOutageMs: number
  /** Events that were not delivered because JavaScript was too busy to take them. */
  eventsLost: number
  lastError?: string
}

/** A running redirector; it works in a thread of its own. */
export interface Redirector {
  setStatus(on: boolean): void
  /** `atNs`: CLOCK_REALTIME of the QMP event; without it, the time of arrival counts. */
  setRunState(running: boolean, atNs?: bigint): void
  statistics(): Promise<Statistics>
  /** Drains, closes, and answers with the final statistics; may be called again. */
  stop(): Promise<Statistics>
}

export interface Binding {
  Redirector: {
    start(options: RedirectorOptions, onEvent: (event: RedirectorEvent) => void): Promise<Redirector>
  }
  version(): string
}
