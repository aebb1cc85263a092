/** Whether both ends are there, carry Ethernet, are up and lead somewhere. Pure. */

import type { HostInterface } from '../../binding.ts'
import { ExitStatus } from '../../errors.ts'
import { closest } from '../../options/closest.ts'
import type { End, Facts, OwnProcess } from '../facts.ts'
import { type Details, error, type Finding, info, ok, warning } from '../finding.ts'
import { again, at, type Changes } from '../shell.ts'
import { withCapabilities } from './privileges.ts'
import { interfaceBehind, titleOf, vmsOf } from './vms.ts'

/** What `ip link` and QEMU's scripts give a TAP; a burst of fewer frames is what a queue is for. */
const USUAL_QUEUE_LENGTH = 1000
const SHORT_QUEUE_LENGTH = 100

/** Those that neither delay nor refuse anything on purpose. */
const PLAIN_QDISCS: ReadonlySet<string> = new Set([
  ...['noqueue', 'pfifo_fast', 'pfifo', 'bfifo', 'fq_codel', 'fq', 'mq', 'cake', 'sfq', 'noop', ''],
])

/** That of whoever opens it. */
const OWN_NETNS = '/proc/self/ns/net'

export function checkInterfaces(facts: Facts): Finding[] {
  return [facts.input, facts.output].flatMap(end => (end === undefined ? [] : checkEnd(end, facts)))
}

export function nameOf({ role, given, place }: End): string {
  return given === place.interface ? `${role} ${given}` : `${role} ${given} (${place.interface})`
}

function checkEnd(end: End, facts: Facts): Finding[] {
  const { facts: netdev } = end
  if (netdev === undefined) return [notFound(end, facts)]
  const about = nameOf(end)
  if (!netdev.ethernet) {
    return [
      error('NETDEV_NOT_ETHERNET', ExitStatus.Interface, about, 'its frames have no Ethernet header', {
        note: 'give a TAP, veth, bridge or network card: a TUN, ppp or WireGuard interface carries bare packets',
      }),
    ]
  }
  const link = checkLink(end, netdev, facts.process)
  // A bridge closes a port that leads nowhere by itself.
  const findings = link.length > 0 ? link : checkBridgePort(end, netdev)
  if (end.role === 'out_netdev') findings.push(...checkOutput(end, netdev))
  return findings.length > 0 ? findings : [ok('INTERFACE_READY', about, 'it is there, up, and has a carrier')]
}

/** Why a name led to no interface, and what was meant, as far as it can be told. */
function notFound(end: End, facts: Facts): Finding {
  const { role, given, problem, elsewhere } = end
  const about = `${role} ${given}`
  const refuse = (message: string, details: Details): Finding => {
    const { code, exitStatus } = problem ?? { code: 'NETDEV_NOT_FOUND', exitStatus: ExitStatus.Interface }
    return error(code, exitStatus, about, message, details)
  }
  const hint: Details = problem?.hint === undefined ? {} : { note: problem.hint }
  // Its own failure says more than that there is no interface.
  if (problem !== undefined && problem.code !== 'NETDEV_ID_UNKNOWN') {
    const closed = problem.code === 'PERMISSION'
    return refuse(problem.message, closed ? withCapabilities(facts, 'net_raw') : hint)
  }
  const [netns, ...others] = elsewhere
  if (netns !== undefined) {
    const more = others.length === 0 ? {} : { note: `also in ${others.map(({ label }) => label).join(', ')}` }
    return refuse(`there is none of that name here, but one in network namespace ${netns.label}`, {
      fix: again(facts.request, netnsOptions(facts, end, netns.label)),
      ...more,
    })
  }
  if (facts.monitor?.problem !== undefined) {
    return info(
      'NETDEV_ID_UNRESOLVED',
      about,
      "there is no interface of that name here, and without the VM's monitor it cannot be told whether it is a netdev of the VM",
    )
  }
  const owned = facts.monitor === undefined ? netdevOfVm(end, facts) : undefined
  if (owned !== undefined) return refuse(...owned)
  const similar = closest(given, namesNear(end, facts))
  if (similar !== undefined) {
    return refuse(problem?.message ?? `there is no such interface; there is ${similar}`, {
      fix: again(facts.request, { [optionOf(end)]: similar }),
    })
  }
  return refuse(problem?.message ?? 'there is no interface of that name in this network namespace', {
    note: '`ip link` shows those there are, `tapferry netdevs` those of VMs; --wait waits for one',
    ...hint,
  })
}

function optionOf({ role }: End): string {
  return role === 'in_netdev' ? '--in-netdev' : '--out-netdev'
}

/** Options that look for one end in another network namespace, and for the other one where it is. */
function netnsOptions({ request, input, output }: Facts, moved: End, label: string): Changes {
  const wanted = (end: End | undefined, given: string | undefined): string | undefined => {
    if (end === undefined || end === moved) return label
    return end.elsewhere.some(netns => netns.label === label) ? label : given
  }
  const [from, to] = [wanted(input, request.inNetns), wanted(output, request.outNetns)]
  if (from === to) return { '--netns': from, '--out-netns': undefined }
  return { '--netns': from, '--out-netns': to ?? OWN_NETNS }
}

/** It is a netdev of a VM, and that VM's monitor was not given. */
function netdevOfVm(end: End, { vms, request }: Facts): [message: string, details: Details] | undefined {
  const { given, network } = end
  const owners = vmsOf(end, vms)
  const [owner] = owners
  if (owner === undefined) return undefined
  if (owners.length > 1) {
    const addresses = owners.flatMap(vm => vm.freeMonitors[0] ?? []).join(', ')
    return [
      `there is no interface of that name, but ${owners.length} VMs have such a netdev`,
      { note: `say which VM, by its monitor: --qmp with one of ${addresses}` },
    ]
  }
  const message = `there is no interface of that name, but ${titleOf(owner)} has that netdev`
  const [address, name] = [owner.freeMonitors[0], interfaceBehind(owner, given, network?.namespace)]
  if (address !== undefined) return [message, { fix: again(request, { '--qmp': address }) }]
  if (name !== undefined) return [message, { fix: again(request, { [optionOf(end)]: name }) }]
  return [message, { note: 'give the VM a monitor for tapferry: -qmp unix:PATH,server=on,wait=off' }]
}

/** What may have been meant: interfaces, and with the VM's monitor its netdevs. */
function namesNear({ network }: End, { vms, monitor }: Facts): string[] {
  const followed = vms.find(({ process }) => process.pid === monitor?.vm?.pid)
  return [
    ...(followed?.process.netdevs ?? []).map(({ id }) => id),
    ...(network?.interfaces ?? []).map(({ name }) => name),
  ]
}

function checkLink(end: End, netdev: HostInterface, process: OwnProcess): Finding[] {
  const { role, place, network } = end
  const about = nameOf(end)
  const consequence = role === 'in_netdev' ? 'nothing is sent into it' : 'nothing can be injected into it'
  if (!netdev.up) {
    return [
      error('INTERFACE_DOWN', ExitStatus.Interface, about, `it is down: ${consequence}`, {
        fix: at(end, 'ip', 'link', 'set', 'dev', place.interface, 'up'),
      }),
    ]
  }
  if (netdev.carrier) return []
  const refuse = (why: string, details: { fix?: string; note?: string }): Finding[] => [
    error(
      'NO_CARRIER',
      ExitStatus.Interface,
      about,
      `it has no carrier: ${why}, and ${consequence}`,
      details,
    ),
  ]
  if (netdev.tun !== undefined && !end.held) {
    const sight = process.uid === 0 || process.capabilities.has('sys_ptrace') ? '' : ' that this user can see'
    return refuse(`no VM${sight} holds this TAP open`, { note: 'start the VM that it belongs to' })
  }
  if (netdev.tun !== undefined) {
    return refuse('it was set off', {
      fix: at(end, 'ip', 'link', 'set', 'dev', place.interface, 'carrier', 'on'),
    })
  }
  const peer = network?.interfaces.find(({ ifindex }) => ifindex === netdev.link && !netdev.linkElsewhere)
  if (netdev.kind === 'veth' && peer !== undefined && !peer.up) {
    return refuse(`its peer ${peer.name} is down`, {
      fix: at(end, 'ip', 'link', 'set', 'dev', peer.name, 'up'),
    })
  }
  return refuse(
    netdev.linkElsewhere ? 'its other end, in another network namespace, is down' : 'nothing is connected',
    {
      note: netdev.linkElsewhere
        ? 'set its other end up, where that is'
        : 'look at the cable and at the other end',
    },
  )
}

function checkBridgePort(end: End, netdev: HostInterface): Finding[] {
  const state = netdev.bridgePortState
  if (state === undefined || state === 'forwarding') return []
  const about = nameOf(end)
  const bridge = end.network?.interfaces.find(({ ifindex }) => ifindex === netdev.controller)
  const message = `bridge ${bridge?.name ?? ''} does not forward through it: the port is ${state}`
  // Only spanning tree has the other states, and only it leaves them.
  if (state === 'disabled') {
    return [
      error('BRIDGE_PORT_CLOSED', ExitStatus.Interface, about, message, {
        fix: at(end, 'bridge', 'link', 'set', 'dev', end.place.interface, 'state', 3),
      }),
    ]
  }
  if (state === 'blocking') {
    return [
      error('BRIDGE_PORT_CLOSED', ExitStatus.Interface, about, message, {
        note: 'spanning tree closed it, because the bridge has another way to the same place: use that one, or remove it',
      }),
    ]
  }
  return [
    warning('BRIDGE_PORT_CLOSED', about, message, {
      note: 'spanning tree opens it by itself: within half a minute, unless forward_delay was changed',
    }),
  ]
}

function checkOutput(end: End, netdev: HostInterface): Finding[] {
  const about = nameOf(end)
  const { place } = end
  const findings: Finding[] = []
  if (netdev.kind === 'macvtap') {
    findings.push(
      error(
        'MACVTAP_OUTPUT',
        ExitStatus.Interface,
        about,
        'what is injected into a macvtap leaves through its card, and no guest gets it',
        {
          note: 'give the guest a TAP on a bridge, and inject into that',
        },
      ),
    )
  }
  if (netdev.tun !== undefined && netdev.txQueueLength < SHORT_QUEUE_LENGTH) {
    findings.push(
      warning(
        'QUEUE_SHORT',
        about,
        `its queue holds ${netdev.txQueueLength} frames: the rest of a burst is lost, silently, when the guest is slower`,
        { fix: at(end, 'ip', 'link', 'set', 'dev', place.interface, 'txqueuelen', USUAL_QUEUE_LENGTH) },
      ),
    )
  }
  if (!PLAIN_QDISCS.has(netdev.qdisc)) {
    findings.push(
      warning(
        'QDISC_LIMITS',
        about,
        `its queueing discipline ${netdev.qdisc} may delay or drop what is injected`,
        {
          fix: at(end, 'tc', 'qdisc', 'del', 'dev', place.interface, 'root'),
        },
      ),
    )
  }
  return findings
}
