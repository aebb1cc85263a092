/**
 * The validated plan of each side: parsed options -> what will be done. Pure; `--dry-run` prints it.
 */

import { usageError } from '../options/values.ts'
import { DEFAULT_MARK } from '../run/options.ts'
import { formatStreamAddress, isLoopback, type SocketAddress } from '../stream/address.ts'
import {
  type CheckDestinationOptions,
  type CheckSourceOptions,
  DEFAULT_MAX_HOLD,
  DEFAULT_RESUME_TIMEOUT_MS,
  type DestinationOptions,
  type SourceOptions,
} from './options.ts'

export type Side = 'source' | 'destination'

export interface HandoverPlan {
  side: Side
  /** As given: netdev ids of QEMU, or names of TAPs; empty: all TAPs that the VM has. */
  netdevs: readonly string[]
  /** The network namespace of TAPs that are given by name. */
  netns: string | undefined
  monitor: string
  /** Where the destination listens. */
  address: SocketAddress
  /** The directory of credentials; undefined: no TLS. */
  tlsCreds: string | undefined
  maxHoldBytes: number
  resumeTimeoutMs: number
  mark: number
  wait: boolean
  /** Of a source. */
  persistent: boolean
  reportFile: string | undefined
}

/** Throws usage errors. */
export function planSource(options: SourceOptions): HandoverPlan {
  const { qmp, to, inNetdev, persistent } = options
  return plan('source', { ...options, qmp, netdevs: inNetdev, address: to, persistent }, 'handover source')
}

/** Throws usage errors. */
export function planDestination(options: DestinationOptions): HandoverPlan {
  const { qmp, from, outNetdev } = options
  return plan('destination', { ...options, qmp, netdevs: outNetdev, address: from }, 'handover dest')
}

/** What a rehearsal looks at, which does not do all of it. Throws usage errors. */
export function planCheckSource(options: CheckSourceOptions): HandoverPlan {
  const { inNetdev, to, netns, tlsCreds, insecure, qmp, maxHold } = options
  const given = { netdevs: inNetdev, address: to, netns, tlsCreds, insecure, qmp, maxHold }
  return plan('source', given, 'handover check source')
}

/** Throws usage errors. */
export function planCheckDestination(options: CheckDestinationOptions): HandoverPlan {
  const { outNetdev, from, netns, tlsCreds, insecure, qmp, maxHold } = options
  const given = { netdevs: outNetdev, address: from, netns, tlsCreds, insecure, qmp, maxHold }
  return plan('destination', given, 'handover check dest')
}

interface Given {
  netdevs: readonly string[] | undefined
  address: SocketAddress | undefined
  qmp: string | undefined
  tlsCreds: string | undefined
  insecure: true | undefined
  netns: string | undefined
  maxHold: number | undefined
  resumeTimeout?: number | undefined
  mark?: number | undefined
  wait?: true | undefined
  persistent?: true | undefined
  report?: string | undefined
  quiet?: true | undefined
  verbose?: true | undefined
}

/** `command`: whose plan it is. */
function plan(side: Side, given: Given, command: string): HandoverPlan {
  const { netdevs = [], qmp, address, netns, tlsCreds } = given
  const flag = side === 'source' ? '--to' : '--from'
  const example = `for example: tapferry ${command} --qmp qmp0 ${flag} unix:/run/handover`
  if (qmp === undefined)
    throw usageError("--qmp is missing: the VM's monitor tells when it stops and runs", example)
  if (address === undefined) {
    const what = side === 'source' ? 'where the destination listens' : 'where to listen for the source'
    throw usageError(`${flag} is missing: ${what}`, example)
  }
  checkSecurity(address, flag, given)
  const twice = netdevs.find((name, index) => netdevs.indexOf(name) !== index)
  if (twice !== undefined) throw usageError(`netdev '${twice}' is given twice`, 'give it once')
  if (given.quiet && given.verbose) {
    throw usageError('--quiet and --verbose contradict each other', 'leave one of them out')
  }
  return {
    ...{ side, netdevs, netns, monitor: qmp, address, tlsCreds },
    maxHoldBytes: given.maxHold ?? DEFAULT_MAX_HOLD,
    resumeTimeoutMs: given.resumeTimeout ?? DEFAULT_RESUME_TIMEOUT_MS,
    mark: given.mark ?? DEFAULT_MARK,
    wait: given.wait ?? false,
    persistent: given.persistent ?? false,
    reportFile: given.report,
  }
}

function checkSecurity(address: SocketAddress, flag: string, { tlsCreds, insecure }: Given): void {
  if (tlsCreds !== undefined && insecure) {
    throw usageError('--tls-creds and --insecure contradict each other', 'leave one of them out')
  }
  if (tlsCreds !== undefined && address.kind !== 'tcp') {
    throw usageError(
      `--tls-creds is for TCP, and ${flag} is a unix socket`,
      'leave it out, as with QEMU: such a socket does not leave this host',
    )
  }
  const isOpen = address.kind === 'tcp' && !isLoopback(address.host)
  if (isOpen && !insecure && tlsCreds === undefined) {
    throw usageError(
      `${flag}: the guest's frames would go through ${formatStreamAddress(address)} without encryption or a password`,
      'encrypt it with --tls-creds DIR on both sides, let ssh carry tcp:localhost:PORT, or allow it: --insecure',
    )
  }
  if (insecure && address.kind !== 'tcp') {
    throw usageError(`--insecure is for TCP, and ${flag} is a unix socket`, 'leave it out')
  }
}
