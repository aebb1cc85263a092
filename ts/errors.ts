/**
 * Failures with a stable code.
 *
 * A code survives from the core through the binding to JSON output and to the exit status. This file holds
 * the one table from code to exit status; the numbers are documented in the help and must not change.
 */

/** What the process ends with. */
export const ExitStatus = {
  /** Done; a requested stop is done, too. */
  Done: 0,
  Failed: 1,
  Usage: 2,
  Permission: 3,
  /** The VM or its monitor. */
  Monitor: 4,
  /** A network interface. */
  Interface: 5,
} as const

export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus]

/** What the help says of each. */
export const EXIT_STATUS_MEANINGS: readonly (readonly [status: ExitStatus, meaning: string])[] = [
  [ExitStatus.Done, 'done; a requested stop is done, too'],
  [ExitStatus.Failed, 'failed'],
  [ExitStatus.Usage, 'wrong usage or configuration'],
  [ExitStatus.Permission, 'a permission is missing'],
  [ExitStatus.Monitor, 'the VM or its monitor'],
  [ExitStatus.Interface, 'a network interface'],
]

/** Codes by prefix; the first row that fits decides. What fits no row is a plain failure. */
const STATUS_BY_PREFIX: readonly (readonly [prefix: string, status: ExitStatus])[] = [
  ['USAGE', ExitStatus.Usage],
  ['INVALID_OPTIONS', ExitStatus.Usage],
  ['MONITOR_ADDRESS_INVALID', ExitStatus.Usage],
  ['STREAM_ADDRESS_INVALID', ExitStatus.Usage],
  ['QEMU_OPTION_', ExitStatus.Usage],
  ['REPORT_', ExitStatus.Usage],
  ['TLS_CREDENTIALS_', ExitStatus.Usage],
  ['PERMISSION', ExitStatus.Permission],
  ['MONITOR_PERMISSION', ExitStatus.Permission],
  ['MONITOR_', ExitStatus.Monitor],
  ['QMP_ERROR', ExitStatus.Monitor],
  ['VM_', ExitStatus.Monitor],
  ['NETDEV_', ExitStatus.Interface],
  ['NETNS_', ExitStatus.Interface],
]

/** The exit status that belongs to a failure's code. */
export function exitStatusOf(code: string): ExitStatus {
  return STATUS_BY_PREFIX.find(([prefix]) => code.startsWith(prefix))?.[1] ?? ExitStatus.Failed
}

/**
 * A failure that is told to people and to programs.
 *
 * `message` says what failed, on which object and why, in one line; `hint` is the next step.
 */
export class TapferryError extends Error {
  override readonly name = 'TapferryError'
  readonly code: string
  readonly hint: string | undefined

  constructor(code: string, message: string, hint?: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    this.hint = hint
  }

  get exitStatus(): ExitStatus {
    return exitStatusOf(this.code)
  }

  /**
   * Any thrown value as a TapferryError. The binding rejects with a string `code` and a message whose first
   * line is the failure and whose rest is the next step; what carries no code of ours is an internal error.
   */
  static from(error: unknown): TapferryError {
    if (error instanceof TapferryError) return error
    if (!(error instanceof Error)) return new TapferryError('INTERNAL', `internal error: ${String(error)}`)
    const code = (error as { code?: unknown }).code
    const [first = '', ...rest] = error.message.split('\n')
    const hint = rest.join('\n').trim() || undefined
    if (typeof code === 'string' && isOurs(code)) {
      return new TapferryError(code, first, hint, { cause: error })
    }
    return new TapferryError('INTERNAL', `internal error: ${first}`, hint, { cause: error })
  }
}

/** Node's own codes (`ERR_...`) and errno names (`ENOENT`) are no codes of ours. */
function isOurs(code: string): boolean {
  return /^[A-Z][A-Z_]+$/.test(code) && !/^(ERR_|E[A-Z0-9]+$)/.test(code)
}
