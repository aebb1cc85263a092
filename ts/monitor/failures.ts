/**
 * What can go wrong with a monitor, in words: each failure has a stable code, says what failed, on which
 * address and why, and what to do next.
 */

import { TapferryError } from '../errors.ts'
import type { ProcessState } from '../host/processes.ts'
import { formatMonitorAddress, type MonitorAddress } from './address.ts'

/** How to give a VM one more monitor. */
const ANOTHER_MONITOR =
  '-qmp unix:PATH,server=on,wait=off; `tapferry doctor` tells how with libvirt, Proxmox VE and Incus'

/** QEMU's answer to a command that it refused. */
export class QmpError extends TapferryError {
  /** QEMU's error class: GenericError, CommandNotFound, DeviceNotFound, ... Stable, unlike `desc`. */
  readonly class: string
  /** QEMU's words, for people only. */
  readonly desc: string

  constructor(command: string, errorClass: string, desc: string) {
    super('QMP_ERROR', `the VM refused ${command}: ${desc}`)
    this.class = errorClass
    this.desc = desc
  }
}

/** The peer took the connection (or its backlog did), and then said nothing. Becomes busy or frozen. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
  /** What did not come: without a connection, a host or a firewall may be the silent one. */
  readonly missing: 'connect' | 'greeting'

  constructor(missing: 'connect' | 'greeting') {
    super(`no ${missing}`)
    this.missing = missing
  }
}

export function connectFailure(address: MonitorAddress, error: NodeJS.ErrnoException): TapferryError {
  const where = formatMonitorAddress(address)
  const cause = { cause: error }
  const errno = error.code ?? error.message
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new TapferryError(
        'MONITOR_NOT_FOUND',
        `no monitor at ${where}: no such socket (${errno})`,
        `check the path, or give the VM this monitor (${ANOTHER_MONITOR}); --wait waits for it`,
        cause,
      )
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new TapferryError(
        'MONITOR_NOT_FOUND',
        `no monitor at ${where}: the host name has no address (${errno})`,
        'check the host name; a path without a slash that holds a colon needs the prefix unix:',
        cause,
      )
    case 'EACCES':
    case 'EPERM':
      return new TapferryError(
        'MONITOR_PERMISSION',
        `no permission to connect to the monitor ${where} (${errno})`,
        'run tapferry as the user that owns the socket (ls -l shows it) or as root',
        cause,
      )
    case 'EPROTOTYPE':
      return notASocket(where, 'it is no stream socket')
    default:
      return new TapferryError(
        'MONITOR_REFUSED',
        `the monitor ${where} refused the connection (${errno})`,
        address.kind === 'unix'
          ? 'no VM listens there: start it, or remove what an earlier one left; --wait waits for it'
          : 'no VM listens there: check host and port, and that the VM runs; --wait waits for it',
        cause,
      )
  }
}

export function notASocket(where: string, why: string): TapferryError {
  return new TapferryError(
    'MONITOR_NOT_QMP',
    `${where} is not a QMP monitor: ${why}`,
    'give the path of the socket that the VM was started with: -qmp unix:PATH,server=on,wait=off',
  )
}

export function hungUp(address: MonitorAddress, when: string): TapferryError {
  return new TapferryError(
    'MONITOR_REFUSED',
    `the monitor ${formatMonitorAddress(address)} hung up ${when}`,
    'look whether the VM has just ended or is being restarted; --wait waits for it',
  )
}

/** `sample` is the printable start of what came instead of a greeting. */
export function notQmp(address: MonitorAddress, sample: string): TapferryError {
  const where = formatMonitorAddress(address)
  if (/^QEMU .*monitor/.test(sample)) {
    return new TapferryError(
      'MONITOR_NOT_QMP',
      `${where} is a human monitor (HMP), and tapferry speaks QMP`,
      `give the VM a QMP monitor beside it (${ANOTHER_MONITOR})`,
    )
  }
  if (/^\.\.[.%&]/.test(sample)) {
    return new TapferryError(
      'MONITOR_NOT_QMP',
      `${where} speaks telnet, not plain QMP: '${sample}'`,
      'leave out telnet=on in the -qmp option of the VM, or give it a second monitor',
    )
  }
  if (/^\{.*"(return|error)":/.test(sample)) {
    return new TapferryError(
      'MONITOR_NOT_QMP',
      `${where} answers without a QMP greeting, as a guest agent does`,
      `give the address of the VM's own monitor (${ANOTHER_MONITOR})`,
    )
  }
  return new TapferryError(
    'MONITOR_NOT_QMP',
    `${where} is not a QMP monitor: it sent '${sample}'`,
    "give the address of the VM's -qmp socket",
  )
}

/** Two silent attempts of `timeoutMs` each. */
export function silent(
  address: MonitorAddress,
  failure: NoAnswer,
  timeoutMs: number,
  listener: ProcessState | undefined,
): TapferryError {
  const where = formatMonitorAddress(address)
  const span = `${timeoutMs / 1000} s, twice`
  if (listener?.frozen) return frozen(address, listener, failure)
  if (failure.missing === 'connect' && address.kind === 'tcp' && listener === undefined) {
    return new TapferryError(
      'MONITOR_REFUSED',
      `no answer from the monitor ${where}: no connection within ${span}`,
      'check host, port and firewall; a VM that is frozen, or whose monitor others wait for, does the same',
      { cause: failure },
    )
  }
  const vm = listener === undefined ? '' : `, of ${listener.name} (pid ${listener.pid}),`
  return new TapferryError(
    'MONITOR_BUSY',
    `another client holds this monitor: ${where}${vm} gave no greeting within ${span}`,
    `a monitor serves one client: let the other one leave, or give the VM a second one (${ANOTHER_MONITOR})` +
      (listener === undefined ? '; a frozen VM (SIGSTOP, freezer) looks the same' : ''),
    { cause: failure },
  )
}

export function frozen(address: MonitorAddress, listener: ProcessState, cause: Error): TapferryError {
  return new TapferryError(
    'MONITOR_FROZEN',
    `the process behind the monitor ${formatMonitorAddress(address)} is stopped: ` +
      `${listener.name}, pid ${listener.pid}, state T`,
    `let it go on (kill -CONT ${listener.pid}), or leave the debugger that holds it`,
    { cause },
  )
}

export function lost(address: MonitorAddress, reason: string): TapferryError {
  return new TapferryError(
    'MONITOR_LOST',
    `no connection to the monitor ${formatMonitorAddress(address)}: ${reason}`,
    'look whether the VM still runs; the connection is tried again until then',
  )
}

export function timedOut(address: MonitorAddress, command: string, timeoutMs: number): TapferryError {
  return new TapferryError(
    'MONITOR_TIMEOUT',
    `the monitor ${formatMonitorAddress(address)} did not answer ${command} within ${timeoutMs / 1000} s`,
    'look whether the VM is frozen (state T in ps) or very busy, and try again',
  )
}

/** Failures that pass by themselves: what `wait` waits for. */
export function mayPass(error: unknown): boolean {
  return error instanceof TapferryError && PASSING_CODES.has(error.code)
}

const PASSING_CODES: ReadonlySet<string> = new Set([
  'MONITOR_NOT_FOUND',
  'MONITOR_REFUSED',
  'MONITOR_BUSY',
  'MONITOR_FROZEN',
  'MONITOR_LOST',
  'MONITOR_TIMEOUT',
])
