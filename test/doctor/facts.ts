/** Made-up facts: a host on which all is well, and what a test changes of it. */

import type { HostInterface } from '../../ts/binding.ts'
import { runChecks } from '../../ts/doctor/checks/index.ts'
import type { End, Facts, MonitorFacts, Vm } from '../../ts/doctor/facts.ts'
import type { Finding } from '../../ts/doctor/finding.ts'
import type { Request } from '../../ts/doctor/request.ts'
import { TapferryError } from '../../ts/errors.ts'

export const HOME = 'net:[1]'

export function request(changes: Partial<Request> = {}): Request {
  return {
    ...{ inNetdev: 'tapA', outNetdev: 'tapB', inNetns: undefined, outNetns: undefined },
    ...{ indev: undefined, outdev: undefined, inDatagrams: undefined, outDatagrams: undefined },
    ...{ headerLength: undefined, wait: false },
    ...{ queue: 'tx', latency: 'balanced', monitor: undefined, status: true, whenStopped: 'off' },
    ...{ mark: 0x3074, argv: ['doctor', '--in-netdev', 'tapA', '--out-netdev=tapB'] },
    ...changes,
  }
}

export function netdev(name: string, changes: Partial<HostInterface> = {}): HostInterface {
  return {
    ...{ name, altNames: [], ifindex: name === 'tapA' ? 2 : 3, kind: 'tun', ethernet: true },
    ...{ up: true, carrier: true, mtu: 1500, mac: '02:00:00:00:00:01' },
    ...{ txQueues: 1, rxQueues: 1, txQueueLength: 1000, gsoMaxSize: 65_536, qdisc: 'pfifo_fast' },
    ...{ linkElsewhere: false, offloads: [], filters: [] },
    ...{ rxPackets: 0, txPackets: 0, rxDropped: 0, txDropped: 0 },
    ...changes,
  }
}

export function end(role: End['role'], facts: HostInterface, changes: Partial<End> = {}): End {
  return {
    ...{ role, given: facts.name, problem: undefined, place: { interface: facts.name } },
    ...{ network: { namespace: HOME, interfaces: [facts], packetSockets: [], markRules: [] }, facts },
    ...{ elsewhere: [], held: true, capturers: [] },
    ...changes,
  }
}

/** A name that leads nowhere. */
export function missing(role: End['role'], name: string, changes: Partial<End> = {}): End {
  return { ...end(role, netdev(name)), facts: undefined, held: false, ...changes }
}

export function vm(pid: number, changes: Partial<Vm> & Partial<Vm['process']> = {}): Vm {
  const { taps = [], freeMonitors = [], name, netdevs = [], places = [], monitors = [] } = changes
  return { process: { pid, name, netdevs, nics: [], places, monitors }, taps, freeMonitors }
}

export function monitor(address: string, changes: Partial<MonitorFacts> = {}): MonitorFacts {
  return {
    ...{ address, manager: undefined, problem: undefined, vm: undefined, clients: [], ferry: undefined },
    ...{ running: true, status: 'running', local: true, closedDirectories: [] },
    ...changes,
  }
}

/** A monitor that cannot be followed. */
export function closedMonitor(
  code: string,
  address: string,
  changes: Partial<MonitorFacts> = {},
): MonitorFacts {
  const problem = new TapferryError(code, `${code} at ${address}`, 'what its failure says')
  return monitor(address, { problem, running: false, status: 'unknown', ...changes })
}

export function facts(changes: Partial<Facts> = {}): Facts {
  const probes = (['packet_socket', 'mark', 'receive_buffer', 'ring'] as const).map(what => ({
    what,
    allowed: true,
  }))
  return {
    request: request(),
    process: {
      ...{ uid: 0, gid: 0, groups: [], probes },
      capabilities: new Set(['net_raw', 'net_admin', 'sys_ptrace', 'sys_admin'] as const),
    },
    kernel: { release: '6.18.0', major: 6, minor: 18 },
    clock: { jiffyNs: 4_000_000, synchronized: true, errorUs: 500, taiOffset: 37 },
    memoryAvailable: 4 * 1024 ** 3,
    monitor: undefined,
    input: end('in_netdev', netdev('tapA')),
    output: end('out_netdev', netdev('tapB')),
    ...{ streams: [], datagrams: [], vms: [], ferries: [], now: 0 },
    ...changes,
  }
}

/** As user nobody; one thing is refused. */
export function refused(what: string, errno: string, uid = 65_534): Facts['process'] {
  const { probes } = facts().process
  return {
    ...{ uid, gid: uid, groups: [], capabilities: new Set(['net_raw'] as const) },
    probes: probes.map(probe => (probe.what === what ? { ...probe, allowed: false, errno } : probe)),
  }
}

/** What all checks find that is not as it should be. */
export function wrong(changes: Partial<Facts>): Finding[] {
  return runChecks(facts(changes)).filter(({ severity }) => severity !== 'ok')
}

/** The one thing that they find. */
export function only(changes: Partial<Facts>): Finding {
  const [finding, ...more] = wrong(changes)
  if (finding === undefined || more.length > 0) {
    throw new Error(`${more.length + (finding === undefined ? 0 : 1)} findings instead of one`)
  }
  return finding
}
