/**
 * What doctor looks at, gathered once; the checks then only think.
 *
 *     request.ts   what a run would be asked to do
 *     facts.ts     what there is, and how it is put together
 *     gather/      each part of it: this process and its host, the monitor, both ends, streams, VMs, other tapferrys
 *     checks/      facts -> findings, one subject a file, pure
 *     vms.ts       which VMs an end is of
 *     finding.ts   what a finding is
 *     shell.ts     commands as they are to be typed
 *
 * Gathering changes nothing, and nothing that fails ends it: a failure is a fact.
 */

import type { CertificateFile, ClockFacts, HostInterface, NetworkView, PrivilegeProbe } from '../binding.ts'
import type { TapferryError } from '../errors.ts'
import type { Netns } from '../host/namespaces.ts'
import type { ProcessState } from '../host/processes.ts'
import { loadBinding } from '../native.ts'
import type { NetdevRole, ResolvedNetdev } from '../netdev/index.ts'
import type { DatagramPlan, StreamPlan } from '../run/ends.ts'
import type { Manager, VmProcess } from '../vm/discover.ts'
import type { Mismatch } from '../vm/headers.ts'
import type { StreamRole } from '../vm/other-end.ts'
import type { VmTap } from '../vm/taps.ts'
import { lookAtDatagrams } from './gather/datagrams.ts'
import { lookAt } from './gather/ends.ts'
import { type Ferry, findFerries } from './gather/ferries.ts'
import { kernel, memoryAvailable, ownProcess } from './gather/host.ts'
import { askMonitor } from './gather/monitor.ts'
import { lookAtStreams } from './gather/streams.ts'
import { findVmsWithTaps, withFreeMonitors } from './gather/vms.ts'
import type { Request } from './request.ts'

export interface Facts {
  readonly request: Request
  readonly process: OwnProcess
  readonly kernel: Kernel
  readonly clock: ClockFacts
  /** Of the whole host, in bytes. */
  readonly memoryAvailable: number
  readonly monitor: MonitorFacts | undefined
  readonly input: End | undefined
  readonly output: End | undefined
  readonly streams: readonly StreamEnd[]
  readonly datagrams: readonly DatagramEnd[]
  readonly vms: readonly Vm[]
  readonly ferries: readonly Ferry[]
  /** Milliseconds since 1970. */
  readonly now: number
}

export interface OwnProcess {
  readonly uid: number
  readonly gid: number
  /** Further ones. */
  readonly groups: readonly number[]
  /** Effective ones, as `cap_net_raw`: capabilities(7), linux/capability.h. */
  readonly capabilities: ReadonlySet<Capability>
  /** What the kernel allows where both ends are, as far as this process may go there. */
  readonly probes: readonly PrivilegeProbe[]
}

export type Capability = 'dac_read_search' | 'net_admin' | 'net_raw' | 'sys_ptrace' | 'sys_admin'

export interface Kernel {
  readonly release: string
  readonly major: number
  readonly minor: number
}

export interface Vm {
  readonly process: VmProcess
  readonly taps: readonly VmTap[]
  /**
   * As `--qmp` takes them: those that no manager keeps for itself, and that answered. Asked only where one
   * is to be suggested.
   */
  readonly freeMonitors: readonly string[]
}

export interface MonitorFacts {
  /** As `--qmp` takes it. */
  readonly address: string
  readonly manager: Manager | undefined
  /** Why it cannot be followed. */
  readonly problem: TapferryError | undefined
  /** The VM's process, where it can be told. */
  readonly vm: ProcessState | undefined
  /** Who is connected to it, besides us. */
  readonly clients: readonly ProcessState[]
  /** The one of them that is a tapferry. */
  readonly ferry: number | undefined
  readonly running: boolean
  readonly status: string
  /** Whether it shares this host's clock. */
  readonly local: boolean
  /** The directories on the way to its socket, from the first that this user may not search; else none. */
  readonly closedDirectories: readonly string[]
}

/** One end of the redirector. */
export interface End {
  readonly role: NetdevRole
  /** As it was named. */
  readonly given: string
  /** Why there is no interface, or no way to it. */
  readonly problem: TapferryError | undefined
  readonly place: ResolvedNetdev
  readonly network: NetworkView | undefined
  readonly facts: HostInterface | undefined
  /** Named and VMs' namespaces that have an interface of that name, if its own has none. */
  readonly elsewhere: readonly Netns[]
  /** Whether some process has this TAP open, as far as this user may see. */
  readonly held: boolean
  /** Processes with an AF_PACKET socket that captures here. */
  readonly capturers: readonly ProcessState[]
}

/** An end that is a stream. */
export interface StreamEnd {
  readonly role: StreamRole
  readonly plan: StreamPlan
  /** Of a unix socket. */
  readonly file: SocketFile | undefined
  /** Whether somebody listens there; undefined for another host, and for a descriptor. */
  readonly listening: boolean | undefined
  /** Who that is, where it can be told. */
  readonly server: ProcessState | undefined
  /** Who is connected to it. */
  readonly clients: readonly ProcessState[]
  /** The one of all of them that is a tapferry. */
  readonly ferry: number | undefined
  readonly opposite: Opposite
  /** Undefined without TLS. */
  readonly credentials: CredentialsFacts | undefined
}

/** A directory of credentials. */
export interface CredentialsFacts {
  readonly directory: string
  /** Why they are of no use. */
  readonly problem: TapferryError | undefined
  /** What is of use, and until when. */
  readonly files: readonly CertificateFile[]
  /** The key, where every user may read it. */
  readonly exposedKey: string | undefined
}

/** An end of datagrams. */
export interface DatagramEnd {
  readonly role: StreamRole
  readonly plan: DatagramPlan
  /** Of a unix socket. */
  readonly file: SocketFile | undefined
  /** Whether somebody takes datagrams there; undefined for another host. */
  readonly bound: boolean | undefined
}

export interface SocketFile {
  readonly kind: 'none' | 'socket' | 'other'
  /** To this user, as is what follows. */
  readonly writable: boolean
  readonly directory: 'missing' | 'closed' | 'writable'
  /** The directories on the way to it, from the first that may not be searched; else none. */
  readonly closedDirectories: readonly string[]
}

/** The filters at the other end, in the VM of the monitor, that are not as they should be. */
export interface Opposite {
  /** Their ids. */
  readonly deaf: readonly string[]
  readonly mismatches: readonly Mismatch[]
}

export async function gatherFacts(request: Request): Promise<Facts> {
  const vms = await findVmsWithTaps()
  const { facts: monitor, connection } = await askMonitor(request.monitor)
  try {
    const sources = { monitor: connection, owner: vms.find(vm => vm.process.pid === monitor?.vm?.pid), vms }
    const input = await lookAt('in_netdev', request.inNetdev, request.inNetns, sources)
    const output = await lookAt('out_netdev', request.outNetdev, request.outNetns, sources)
    return {
      request,
      process: await ownProcess([input, output]),
      kernel: kernel(),
      clock: loadBinding().inspectClock(),
      memoryAvailable: await memoryAvailable(),
      monitor,
      input,
      output,
      streams: await lookAtStreams(request, connection),
      datagrams: await lookAtDatagrams(request),
      vms: await withFreeMonitors(vms, monitor, [input, output]),
      ferries: await findFerries([input, output].flatMap(end => end?.network ?? [])),
      now: Date.now(),
    }
  } finally {
    await connection?.close()
  }
}
