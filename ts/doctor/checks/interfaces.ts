/** Whether both ends are there, carry Ethernet, are up and lead somewhere. Pure. */

import type { HostInterface } from '../../binding.ts'
import { ExitStatus } from '../../errors.ts'
import { closest } from '../../options/closest.ts'
import type { End, Facts } from '../facts.ts'
import { error, type Finding, ok, warning } from '../finding.ts'
import { again, at } from '../shell.ts'

/** What `ip link` and QEMU's scripts give a TAP; a burst of fewer frames is what a queue is for. */
const USUAL_QUEUE_LENGTH = 1000
const SHORT_QUEUE_LENGTH = 100

/** Those that neither delay nor refuse anything on purpose. */
const PLAIN_QDISCS: ReadonlySet<string> = new Set([
  ...['noqueue', 'pfifo_fast', 'pfifo', 'bfifo', 'fq_codel', 'fq', 'mq', 'cake', 'sfq', 'noop', ''],
])

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
  const link = checkLink(end, netdev)
  // A bridge closes a port that leads nowhere by itself.
  const findings = link.length > 0 ? link : checkBridgePort(end, netdev)
  if (end.role === 'out_netdev') findings.push(...checkOutput(end, netdev))
  return findings.length > 0 ? findings : [ok('INTERFACE_READY', about, 'it is there, up, and has a carrier')]
}

function notFound(end: End, { request, vms, monitor }: Facts): Finding {
  const { role, given, problem, elsewhere, network } = end
  const about = `${role} ${given}`
  const option = role === 'in_netdev' ? '--in-netdev' : '--out-netdev'
  const refuse = (message: string, details: { fix?: string; note?: string } = {}): Finding => {
    const { code, exitStatus } = problem ?? { code: 'NETDEV_NOT_FOUND', exitStatus: ExitStatus.Interface }
    return error(code, exitStatus, about, message, details)
  }
  // Its own failure says more than that there is no interface.
  if (problem !== undefined && problem.code !== 'NETDEV_ID_UNKNOWN') {
    return refuse(problem.message, problem.hint === undefined ? {} : { note: problem.hint })
  }
  const [netns] = elsewhere
  if (netns !== undefined) {
    const flag = role === 'in_netdev' || request.inNetns === request.outNetns ? '--netns' : '--out-netns'
    return refuse(`there is none of that name here, but one in network namespace ${netns.label}`, {
      fix: again(request, { [flag]: netns.label }),
    })
  }
  const owner = vms.find(({ process }) => process.netdevs.some(({ id }) => id === given))
  const [place] = owner?.process.places ?? []
  if (monitor === undefined && place !== undefined) {
    return refuse(
      `there is no interface of that name, but VM ${owner?.process.name ?? owner?.process.pid} has that netdev`,
      {
        fix: again(request, { '--qmp': place.address.replace(/^unix:/, '') }),
      },
    )
  }
  const names = [...(network?.interfaces ?? []).map(({ name }) => name), ...vms.flatMap(vmNames)]
  const similar = closest(given, names)
  if (similar !== undefined) {
    return refuse(`there is no such interface; there is ${similar}`, {
      fix: again(request, { [option]: similar }),
    })
  }
  return refuse(problem?.message ?? 'there is no interface of that name in this network namespace', {
    note:
      problem?.hint ??
      '`ip link` shows those there are, `tapferry netdevs` those of VMs; --wait waits for one',
  })
}

/** Ids are names for a netdev only with the VM's monitor. */
function vmNames({ process }: Facts['vms'][number]): string[] {
  return process.netdevs.flatMap(netdev => netdev.interface ?? [])
}

function checkLink(end: End, netdev: HostInterface): Finding[] {
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
    return refuse('no VM holds this TAP open', { note: 'start the VM that it belongs to' })
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
  const bridge = end.network?.interfaces.find(({ ifindex }) => ifindex === netdev.controller)
  const { place } = end
  return [
    error(
      'BRIDGE_PORT_CLOSED',
      ExitStatus.Interface,
      nameOf(end),
      `bridge ${bridge?.name ?? ''} does not forward through it: the port is ${state}`,
      { fix: at(end, 'bridge', 'link', 'set', 'dev', place.interface, 'state', 3) },
    ),
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
