/** What `tapferry netdevs` prints. Pure. */

import type { ChalkInstance } from 'chalk'
import type { HostInterface } from '../binding.ts'
import type { NetdevEntry, VmEntry } from '../netdevs/inventory.ts'
import type { RecordFields } from './printer.ts'
import { table } from './table.ts'

/** ethtool's features, as short as people say them; those of one short name mean the same to a guest. */
const SHORT_OFFLOADS: readonly (readonly [short: string, features: readonly string[]])[] = [
  ['csum', ['tx-checksum-ip-generic', 'tx-checksum-ipv4', 'tx-checksum-ipv6']],
  ['tso4', ['tx-tcp-segmentation']],
  ['tso6', ['tx-tcp6-segmentation']],
  ['uso', ['tx-udp-segmentation']],
]

const HEADINGS = [
  'NETDEV',
  'INTERFACE',
  'NETNS',
  'LINK',
  'MTU',
  'QUEUES',
  'VHOST',
  'OFFLOADS',
  'DEVICE',
  'MAC',
]

/** A heading for each VM, and its netdevs below. */
export function netdevsText(vms: readonly VmEntry[], colors: ChalkInstance): string {
  return vms.map(vm => [vmLine(vm, colors), ...netdevLines(vm.netdevs, colors)].join('\n')).join('\n\n')
}

function vmLine(vm: VmEntry, colors: ChalkInstance): string {
  const { green, yellow, bold } = colors
  const state =
    vm.runState === undefined
      ? yellow('run state unknown')
      : (vm.runState === 'running' ? green : yellow)(vm.runState)
  const parts = [
    state,
    ...(vm.pid === undefined ? [] : [`pid ${vm.pid}`]),
    vm.monitor === undefined ? yellow(whyNoMonitor(vm)) : `--qmp ${vm.monitor}`,
  ]
  return `${bold(vm.name ?? 'VM')}: ${parts.join(', ')}`
}

/** The reason in two words; the rest is told below the table. */
function whyNoMonitor({ problem }: VmEntry): string {
  switch (problem?.code) {
    case 'MONITOR_BUSY':
      return 'monitor held'
    case 'MONITOR_PERMISSION':
      return 'monitor closed to us'
    case 'MONITOR_FROZEN':
      return 'frozen'
    default:
      return 'no monitor'
  }
}

function netdevLines(netdevs: readonly NetdevEntry[], colors: ChalkInstance): string[] {
  if (netdevs.length === 0) return ['  no netdevs']
  const rows = netdevs.map(netdev => {
    const { id, backend, queues, vhost, device, facts } = netdev
    const unknown = netdev.interface === undefined ? '-' : '?'
    return [
      id,
      netdev.interface ?? `(${backend})`,
      netdev.netns?.label ?? '-',
      facts === undefined ? unknown : link(facts),
      facts === undefined ? unknown : String(facts.mtu),
      String(queues),
      vhost === undefined ? unknown : vhost ? 'on' : 'off',
      facts === undefined ? unknown : shortOffloads(facts).join(',') || '-',
      device?.model ?? '-',
      device?.mac ?? '-',
    ]
  })
  return table(HEADINGS, rows, colors)
}

/** `up`, `down`, or `no carrier` for an interface that is up and leads nowhere. */
function link({ up, carrier }: HostInterface): string {
  if (!up) return 'down'
  return carrier ? 'up' : 'no carrier'
}

function shortOffloads({ offloads }: HostInterface): string[] {
  return SHORT_OFFLOADS.filter(([, features]) => features.some(each => offloads.includes(each))).map(
    ([short]) => short,
  )
}

export function vmRecord(vm: VmEntry): RecordFields {
  return {
    pid: vm.pid,
    name: vm.name,
    qmp: vm.monitor,
    run_state: vm.runState,
    netdevs: vm.netdevs.length,
    problem_code: vm.problem?.code,
    problem: vm.problem?.message,
  }
}

export function netdevRecord(vm: VmEntry, netdev: NetdevEntry): RecordFields {
  const { facts, netns, device } = netdev
  return {
    pid: vm.pid,
    vm: vm.name,
    qmp: vm.monitor,
    run_state: vm.runState,
    id: netdev.id,
    backend: netdev.backend,
    interface: netdev.interface,
    netns: netns?.label,
    netns_path: netns?.path,
    ifindex: facts?.ifindex,
    up: facts?.up,
    carrier: facts?.carrier,
    mtu: facts?.mtu,
    queues: netdev.queues,
    vhost: netdev.vhost,
    vnet_header: facts?.tun?.vnetHeader,
    offloads: facts?.offloads.join(','),
    device: device?.id,
    model: device?.model,
    mac: device?.mac,
  }
}
