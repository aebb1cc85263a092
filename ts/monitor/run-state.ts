/**
 * Whether the VM runs: a state machine over one monitor connection. Pure.
 *
 * It is moved by the answer to query-status and by the events STOP and RESUME, and by nothing else: SHUTDOWN
 * and RESET alone do not move it. Only QEMU's `running` counts as running (`suspended`, `inmigrate`,
 * `prelaunch`, `paused` do not).
 *
 * An answer and an event that cross: QEMU computes the answer under its lock and may send it later, from
 * another turn of its main loop, while the migration thread stops the VM in between.
 *
 * - Question, answer, STOP: the event is newer. It wins by coming last.
 * - Question, STOP, answer "not running": they agree; the answer adds the reason.
 * - Question, STOP, answer "running": the answer is older than the event. Were it newer, a RESUME would stand
 *   before it, because QEMU emits RESUME before it sets the state. The event wins.
 * - Question, RESUME, answer "not running": older than the event, or newer because the VM is being stopped
 *   again; then QEMU has set the state but not emitted STOP yet, and STOP with its exact time follows. The
 *   event wins either way.
 *
 * So: an answer that contradicts an event which arrived after the question was sent is ignored.
 */

/** What query-status answers, as far as it matters here. */
export interface StatusAnswer {
  readonly running: boolean
  readonly status: string
}

export interface RunState {
  /** Unknown until the first answer or event. */
  readonly running: boolean | undefined
  /** QEMU's RunState when `running` last moved; `stopped` after a STOP whose reason no answer has told yet. */
  readonly status: string
  /** What moved `running` to its present value. */
  readonly cause: 'query' | 'STOP' | 'RESUME'
  /** When it moved, if `cause` is an event with a trusted time. CLOCK_REALTIME, ns. */
  readonly atNs: bigint | undefined
  /** STOP and RESUME events so far: what a question is compared with. */
  readonly transitions: number
}

/** No QEMU status: STOP does not say why the VM stopped. */
export const STATUS_STOPPED = 'stopped'

export const UNKNOWN_RUN_STATE: RunState = {
  running: undefined,
  status: 'unknown',
  cause: 'query',
  atNs: undefined,
  transitions: 0,
}

export function onRunStateEvent(state: RunState, name: string, atNs: bigint | undefined): RunState {
  if (name !== 'STOP' && name !== 'RESUME') return state
  const running = name === 'RESUME'
  const transitions = state.transitions + 1
  if (state.running === running) return { ...state, transitions }
  return { running, status: running ? 'running' : STATUS_STOPPED, cause: name, atNs, transitions }
}

/** `askedAt` is `transitions` when the question was sent. */
export function onStatusAnswer(state: RunState, askedAt: number, answer: StatusAnswer): RunState {
  if (state.running === answer.running) return { ...state, status: answer.status }
  if (state.transitions !== askedAt) return state
  return { ...state, running: answer.running, status: answer.status, cause: 'query', atNs: undefined }
}

/**
 * Events after which only query-status knows the status: STOP gives no reason, and a guest that suspends or
 * wakes up moves the run state without STOP and RESUME.
 *
 * MIGRATION is not among them: QEMU 7.2 reports `completed` before it turns `finish-migrate` into
 * `postmigrate`, so the answer could be either, and a migrating VM is left alone.
 */
export function leavesStatusOpen(event: string): boolean {
  return STATUS_OPEN_AFTER.has(event)
}

const STATUS_OPEN_AFTER: ReadonlySet<string> = new Set(['STOP', 'SUSPEND', 'SUSPEND_DISK', 'WAKEUP'])
