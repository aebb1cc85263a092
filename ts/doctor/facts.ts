/**
 * What doctor looks at, gathered once; the checks then only think.
 *
 *     request.ts   what a run would be asked to do
 *     facts.ts     what there is: this process, the host, the VM, both ends
 *     ferries.ts   other tapferrys
 *     checks/      facts -> findings, one subject a file, pure
 *     finding.ts   what a finding is
 *     shell.ts     commands as they are to be typed
 *
 * Gathering changes nothing, and nothing that fails ends it: a failure is a fact.
 */

import { access, constants, readFile } from 'node:fs/promises'
import { release } from 'node:os'
import { dirname, resolve } from 'node:path'
import type { ClockFacts, HostInterface, NetworkView, PrivilegeProbe } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { findNetns, listNamed, type Netns, netnsIdAt, netnsPath } from '../host/namespaces.ts'
import { listPids, type ProcessState, processState, socketHolders } from '../host/processes.ts'
import { findClients, findListener, Monitor, parseMonitorAddress } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import { type NetdevRole, placeOf, type ResolvedNetdev, resolveNetdev } from '../netdev/index.ts'
import { findVms, type Manager, managerOf, type VmProcess } from '../vm/discover.ts'
import { tapsBehind, tapsOf, type VmTap } from '../vm/taps.ts'
import { plainAddress, vmsOf } from './checks/vms.ts'
import { type Ferry, findFerries, isFerry } from './ferries.ts'
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
  readonly vms: readonly Vm[]
  readonly ferries: readonly Ferry[]
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

/** Bits of CapEff in proc(5). */
const CAPABILITY_BITS = { net_admin: 12n, net_raw: 13n, sys_ptrace: 19n, sys_admin: 21n } as const

export type Capability = keyof typeof CAPABILITY_BITS

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

/** How long a monitor may take for its greeting; one that is held would never send it. */
const PATIENCE_MS = 700

/** The same for a monitor that nobody asked about. */
const OTHERS_PATIENCE_MS = 300

export async function gatherFacts(request: Request): Promise<Facts> {
  const vms = await Promise.all(
    (await findVms()).map(async process => ({ process, taps: await tapsOf(process.pid), freeMonitors: [] })),
  )
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
      vms: await withFreeMonitors(vms, monitor, [input, output]),
      ferries: await findFerries([input, output].flatMap(end => end?.network ?? [])),
    }
  } finally {
    await connection?.close()
  }
}

async function askMonitor(
  address: string | undefined,
): Promise<{ facts: MonitorFacts | undefined; connection: Monitor | undefined }> {
  if (address === undefined) return { facts: undefined, connection: undefined }
  const parsed = parseMonitorAddress(address)
  const vm = await findListener(parsed)
  const clients = await findClients(parsed)
  const ferries = await Promise.all(clients.map(async ({ pid }) => ((await isFerry(pid)) ? [pid] : [])))
  const rest = {
    ...{ address, manager: managerOf(address), vm, clients, ferry: ferries.flat()[0] },
    closedDirectories: parsed.kind === 'unix' ? await closedDirectories(parsed.path) : [],
  }
  try {
    const connection = await Monitor.connect({ address, connectTimeoutMs: PATIENCE_MS })
    const { running, status, local } = connection
    return {
      facts: { ...rest, problem: undefined, running, status, local },
      connection,
    }
  } catch (error) {
    const problem = TapferryError.from(error)
    return {
      facts: { ...rest, problem, running: false, status: 'unknown', local: true },
      connection: undefined,
    }
  }
}

/** What a wrong address meets; otherwise it is the right monitor, whatever is the matter with it. */
const WRONG_ADDRESS: ReadonlySet<string> = new Set([
  'MONITOR_NOT_FOUND',
  'MONITOR_REFUSED',
  'MONITOR_NOT_QMP',
])

/** Of the VMs that an end is of; of all, if a wrong address is everything that is known. */
async function withFreeMonitors(
  vms: readonly Vm[],
  monitor: MonitorFacts | undefined,
  ends: readonly (End | undefined)[],
): Promise<readonly Vm[]> {
  if (monitor !== undefined && !WRONG_ADDRESS.has(monitor.problem?.code ?? '')) return vms
  const owners = ends.flatMap(end => vmsOf(end, vms))
  const unknown = monitor !== undefined && ends.every(end => end?.facts === undefined)
  const asked = new Set(owners.length > 0 || !unknown ? owners : vms)
  return Promise.all(
    vms.map(async vm => (asked.has(vm) ? { ...vm, freeMonitors: await freeMonitorsOf(vm.process) } : vm)),
  )
}

async function freeMonitorsOf({ places }: VmProcess): Promise<string[]> {
  const free: string[] = []
  for (const { address, manager } of places) {
    if (manager !== undefined) continue
    try {
      const connection = await Monitor.connect({ address, connectTimeoutMs: OTHERS_PATIENCE_MS })
      await connection.close()
      free.push(plainAddress(address))
    } catch {
      // Held, closed to this user, or gone: it is no help.
    }
  }
  return free
}

/** What may know a name. */
interface Sources {
  readonly monitor: Monitor | undefined
  /** The VM of the monitor that was given, whether that answers or not. */
  readonly owner: Vm | undefined
  readonly vms: readonly Vm[]
}

async function lookAt(
  role: NetdevRole,
  given: string | undefined,
  netns: string | undefined,
  { monitor, owner, vms }: Sources,
): Promise<End | undefined> {
  if (given === undefined) return undefined
  const path = netns === undefined ? undefined : netnsPath(netns)
  const unresolved: ResolvedNetdev = { interface: given, ...(path === undefined ? {} : { netns: path }) }
  let place = unresolved
  let network: NetworkView | undefined
  let problem: TapferryError | undefined
  try {
    place =
      (monitor === undefined ? await placeByProcess(given, owner) : undefined) ??
      (await resolveNetdev(given, role, { monitor, netns: path }))
  } catch (error) {
    problem = TapferryError.from(error)
  }
  try {
    network = await loadBinding().inspectNetwork(place.netns)
  } catch (error) {
    problem ??= TapferryError.from(error)
  }
  const facts = network?.interfaces.find(({ name }) => name === place.interface)
  const found = facts !== undefined || network === undefined
  return {
    role,
    given,
    problem,
    place,
    network,
    facts,
    elsewhere: found ? [] : await namespacesWith(place.interface, network?.namespace, vms),
    held: facts?.tun !== undefined && (await isHeld(facts.name, network?.namespace)),
    capturers: facts === undefined ? [] : await capturersOf(facts, network),
  }
}

/** Without its monitor: what the VM was started with, and the TAPs that it holds. */
async function placeByProcess(id: string, owner: Vm | undefined): Promise<ResolvedNetdev | undefined> {
  const netdevs = owner?.process.netdevs ?? []
  const netdev = netdevs.find(each => each.id === id)
  const [tap] = netdev === undefined ? [] : tapsBehind(netdev, netdevs, owner?.taps ?? [])
  return tap === undefined ? undefined : { ...(await placeOf(tap)), id }
}

/** ETH_P_ALL (linux/if_ether.h): what a capture asks for; a socket that only sends asks for nothing. */
const ETH_P_ALL = 3

async function capturersOf(
  { ifindex }: HostInterface,
  network: NetworkView | undefined,
): Promise<ProcessState[]> {
  const sockets = (network?.packetSockets ?? []).filter(
    // One whose interface was deleted has no ifindex either, and is not running.
    ({ protocol, ifindex: bound, running }) =>
      protocol === ETH_P_ALL && (bound === ifindex || (bound === 0 && running)),
  )
  const holders = await socketHolders(new Set(sockets.map(({ inode }) => String(inode))))
  const pids = new Set([...holders.values()].flat())
  const states = await Promise.all([...pids].map(processState))
  return states.filter(state => state !== undefined)
}

/** The kernel tells how many queues are held only for multiqueue TAPs. */
async function isHeld(name: string, namespace: string | undefined): Promise<boolean> {
  for (const pid of await listPids()) {
    const taps = await tapsOf(pid)
    if (taps.some(tap => tap.interface === name && tap.namespace === namespace)) return true
  }
  return false
}

/** Where an interface of that name is, if not where it was looked for: in named namespaces and those of VMs. */
async function namespacesWith(
  name: string,
  searched: string | undefined,
  vms: readonly Vm[],
): Promise<Netns[]> {
  const ofVms = vms.flatMap(({ taps }) => taps.map(tap => tap.namespace))
  const ids = new Set([...(await listNamed()).map(({ id }) => id), ...ofVms].filter(id => id !== searched))
  const found: Netns[] = []
  for (const id of ids) {
    const netns = id === undefined ? undefined : await findNetns(id)
    const view = netns === undefined ? undefined : await viewOf(netns)
    if (netns !== undefined && view?.interfaces.some(each => each.name === name)) found.push(netns)
  }
  return found
}

function viewOf({ path }: Netns): Promise<NetworkView | undefined> {
  return loadBinding()
    .inspectNetwork(path)
    .catch(() => undefined)
}

/** Behind the first closed one, nothing can be told of the others. */
async function closedDirectories(path: string): Promise<string[]> {
  const directories: string[] = []
  for (let directory = dirname(resolve(path)); ; directory = dirname(directory)) {
    directories.unshift(directory)
    if (directory === '/') break
  }
  const searchable = (directory: string): Promise<boolean> =>
    access(directory, constants.X_OK).then(
      () => true,
      () => false,
    )
  while (directories[0] !== undefined && (await searchable(directories[0]))) directories.shift()
  return directories
}

async function ownProcess(ends: readonly (End | undefined)[]): Promise<OwnProcess> {
  const text = await readFile('/proc/self/status', 'utf8')
  const gid = process.getegid?.() ?? 0
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(text)?.[1] ?? '0'}`)
  const held = Object.entries(CAPABILITY_BITS).filter(([, bit]) => (effective >> bit) & 1n)
  const paths = new Set(ends.map(end => end?.place.netns))
  const probes = (await Promise.all([...paths].map(path => probe(path)))).flat()
  return {
    uid: process.geteuid?.() ?? 0,
    gid,
    // getgroups(2) may tell the effective one among them.
    groups: (process.getgroups?.() ?? []).filter(group => group !== gid),
    capabilities: new Set(held.map(([name]) => name as Capability)),
    // Where no namespace of theirs is to be entered, this one tells of everything else.
    probes: probes.length > 0 ? probes : await probe(undefined),
  }
}

/** A namespace that is closed to us is told by what is in it. */
async function probe(path: string | undefined): Promise<PrivilegeProbe[]> {
  if (path !== undefined && (await netnsIdAt(path)) === undefined) return []
  return loadBinding()
    .probePrivileges(path)
    .catch(() => [])
}

function kernel(): Kernel {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(release()) ?? []
  return { release: release(), major: Number(major), minor: Number(minor) }
}

async function memoryAvailable(): Promise<number> {
  const text = await readFile('/proc/meminfo', 'utf8')
  return Number(/^MemAvailable:\s*(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024
}
