/**
 * The options of `tapferry handover source` and `dest`, and of their rehearsals: one table each, made of the same
 * parts.
 */

import { flag, type Option, type OptionValues, option, repeatable } from '../options/option.ts'
import {
  colorOption,
  ENDPOINTS,
  findingOptions,
  jsonOption,
  monitorAddress,
  netdevOptions,
  OUTPUT,
  progressOptions,
} from '../options/shared.ts'
import {
  byteSize,
  credentialsDirectory,
  duration,
  fileName,
  integer,
  netdevName,
  type ValueParser,
} from '../options/values.ts'
import { DEFAULT_MARK } from '../run/options.ts'
import { parseSocketAddress, type SocketAddress } from '../stream/address.ts'

export const DEFAULT_MAX_HOLD = 256 * 2 ** 20
export const DEFAULT_RESUME_TIMEOUT_MS = 60_000
export const DEFAULT_MEET_MS = 60_000

/** A frame must fit with its fellows; the core counts in 32 bits. */
const MIN_HOLD_BYTES = 2 ** 20
const MAX_HOLD_BYTES = 2 ** 32 - 1

const HANDOVER = 'Handover'
const END = 'Start and end'

const target: ValueParser<SocketAddress> = (text, name) => parseSocketAddress(text, name, false)
const listener: ValueParser<SocketAddress> = (text, name) => parseSocketAddress(text, name, true)

const qmp = option({
  flags: '--qmp',
  value: 'PATH|HOST:PORT',
  group: ENDPOINTS,
  brief: "the VM's QMP monitor",
  help: ["The VM's QMP monitor, needed. A monitor serves one client: give tapferry a", '-qmp of its own.'],
  parse: monitorAddress,
})

const netns = option({
  ...netdevOptions.netns,
  brief: 'network namespace of the TAPs',
  help: [
    'The network namespace of TAPs that are given by name: a name of',
    "`ip netns`, a path, or the number of a process in it. A VM's netdevs are",
    'found where they are.',
  ],
})

const insecure = flag({
  flags: '--insecure',
  group: ENDPOINTS,
  brief: 'allow TCP between hosts',
  help: [
    'Allow a TCP address that other hosts can reach, on both sides. Frames',
    'travel as they are: there is no encryption and no password. Better:',
    '--tls-creds, or let ssh carry the connection.',
  ],
})

const tlsCreds = option({
  flags: '--tls-creds',
  value: 'DIR',
  group: ENDPOINTS,
  brief: 'TLS between the hosts, with these credentials',
  help: [
    'Speak TLS with the certificates in this directory, named as those of',
    "QEMU's tls-creds-x509: client-*.pem at the source, server-*.pem at the",
    'destination, ca-cert.pem on both. The migration itself can use the same.',
  ],
  parse: credentialsDirectory,
})

const maxHold = option({
  flags: '--max-hold',
  value: 'SIZE',
  default: '256M',
  group: HANDOVER,
  brief: 'memory for frames that wait',
  help: [
    'Memory for frames that wait, for each netdev: bytes, or a number with k,',
    'M or G for 1024, 1024 k, 1024 M. What finds no room is dropped, counted.',
  ],
  parse: byteSize(MIN_HOLD_BYTES, MAX_HOLD_BYTES, "a size from '1M' to '4095M', such as '256M'"),
})

const resumeTimeout = option({
  flags: '--resume-timeout',
  value: 'TIME',
  default: '60s',
  group: HANDOVER,
  brief: 'until the VM runs',
  help: [
    "How long the destination's VM may take until it runs, once its migration",
    'is complete at the source (there: once the source is gone): seconds, or',
    'with a unit: 500ms, 10s, 5m.',
  ],
  parse: duration({ zero: false }),
})

const mark = option({
  flags: '--mark',
  value: 'NUMBER',
  default: `0x${DEFAULT_MARK.toString(16)}`,
  group: HANDOVER,
  brief: 'SO_MARK of injected frames',
  help: ['SO_MARK of injected frames. Frames that carry it are not captured.'],
  parse: integer(1, 0xffff_ffff, "a number from 1 to 0xffffffff, such as '0x3074'"),
})

const wait = flag({
  flags: '--wait',
  group: END,
  brief: 'wait for the monitor and the netdevs',
  help: ['Wait for the monitor and for netdevs that are missing, instead of failing.'],
})

const persistent = flag({
  flags: '--persistent',
  group: END,
  brief: 'go on after a cancelled migration',
  help: ['After a migration that was cancelled or has failed, wait for the next.'],
})

/** `--in-netdev` or `--out-netdev`, as often as there are netdevs. */
function netdevs(flags: string): Option<string[]> {
  return repeatable({
    flags,
    value: 'NETDEV',
    default: 'all TAPs of the VM',
    group: ENDPOINTS,
    brief: 'a netdev, repeatable',
    help: ["A netdev of the VM, by its QEMU id or by its TAP's name; given again for", 'each further one.'],
    parse: netdevName,
  })
}

const inNetdev = netdevs('--in-netdev')
const outNetdev = netdevs('--out-netdev')

const to = option({
  flags: '--to',
  value: 'tcp:HOST:PORT|unix:PATH',
  group: ENDPOINTS,
  brief: 'where the destination listens',
  help: ['Where `tapferry handover dest` listens, needed. It may be started later.'],
  parse: target,
})

const from = option({
  flags: '--from',
  value: 'tcp:HOST:PORT|unix:PATH',
  group: ENDPOINTS,
  brief: 'listen here for the source',
  help: ['Listen here for `tapferry handover source`, needed.'],
  parse: listener,
})

const reportFile = option({
  flags: '--report',
  value: 'FILE',
  group: OUTPUT,
  brief: 'write what happened, as JSON',
  help: [
    'Write what happened to this file when it has ended, as one JSON object;',
    '`tapferry handover report` makes a page of it.',
  ],
  parse: fileName,
})

const output = progressOptions(['plan', 'ready', 'event', 'handover_report', 'error'])

const dryRun = flag({
  flags: '--dry-run',
  group: END,
  brief: 'check the options and print the plan',
  help: ['Check the options and print the plan; open nothing.'],
})

export const sourceOptions = {
  ...{ inNetdev, qmp, to, tlsCreds, insecure, netns, maxHold, resumeTimeout, mark },
  ...{ wait, persistent, dryRun, report: reportFile },
  ...output,
}

export const destinationOptions = {
  ...{ outNetdev, qmp, from, tlsCreds, insecure, netns, maxHold, resumeTimeout, mark },
  ...{ wait, dryRun, report: reportFile },
  ...output,
}

const meet = option({
  flags: '--meet',
  value: 'TIME',
  default: '60s',
  group: HANDOVER,
  brief: 'how long to wait for the other side',
  help: [
    'How long to wait for the rehearsal of the other side, to compare what',
    'both have: seconds, or with a unit: 500ms, 10s, 5m. 0: wait for nobody.',
    'An armed `handover dest` answers as well, and is not disturbed.',
  ],
  parse: duration({ zero: true }),
})

export const checkSourceOptions = {
  ...{ inNetdev, qmp, to, tlsCreds, insecure, netns, maxHold },
  meet,
  ...findingOptions,
}

export const checkDestinationOptions = {
  ...{ outNetdev, qmp, from, tlsCreds, insecure, netns, maxHold },
  meet,
  ...findingOptions,
}

export const cleanupOptions = {
  json: jsonOption(['event', 'error']),
  color: colorOption,
}

export type SourceOptions = OptionValues<typeof sourceOptions>
export type DestinationOptions = OptionValues<typeof destinationOptions>
export type CheckSourceOptions = OptionValues<typeof checkSourceOptions>
export type CheckDestinationOptions = OptionValues<typeof checkDestinationOptions>
