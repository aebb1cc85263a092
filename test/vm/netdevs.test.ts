/**
 * From a netdev's id to its interface, with real VMs: TAPs that were handed over by descriptor, multiqueue TAPs, and
 * TAPs in another network namespace. tapferry runs outside of the lab here: the lab is the other namespace.
 */

import { Running, records, run, TAPFERRY } from '../support/cli.ts'
import { assertValid } from '../support/schema.ts'
import { exactly, only, summaryOf, testsWith } from './support.ts'

const vmTest = testsWith(async site => {
  await site.tap('tapB')
  const [passed, several, plain] = await site.boot(
    { name: 'passed', netdevs: { hn0: 'tapF' }, passed: true },
    { name: 'several', netdevs: { hn0: 'tapG' }, passed: true, queues: 2 },
    { name: 'plain', netdevs: { hn0: 'tapB' } },
  )
  return { passed, several, plain }
})

type Json = Readonly<Record<string, unknown>>

/** What `tapferry netdevs --json` says, outside of the lab. */
async function netdevs(...args: string[]): Promise<Json[]> {
  const { status, stdout, stderr } = await run(TAPFERRY, ['netdevs', '--json', ...args])
  if (status !== 0) throw new Error(stderr)
  return records(stdout)
}

vmTest('netdevs finds the VMs of this host by their processes', async (t, { passed, several, plain }) => {
  const lines = await netdevs()
  for (const line of lines) assertValid(t, 'netdevs', line)
  const vms = lines.filter(({ type }) => type === 'vm')
  for (const [name, vm] of Object.entries({ passed, several, plain })) {
    const found = only(vms.filter(line => line['name'] === name))
    // The test's own monitor is busy, the next one answers.
    t.like(found, { qmp: vm.monitors[0], run_state: 'running' })
  }
})

vmTest('a TAP that was handed over by descriptor has a name, in its own namespace', async (t, { passed }) => {
  const [vm, netdev] = await netdevs('--qmp', passed.monitors[0] ?? '')
  t.like(vm, { type: 'vm', name: 'passed', run_state: 'running', netdevs: 1 })
  t.like(netdev, {
    type: 'netdev',
    id: 'hn0',
    backend: 'tap',
    interface: 'tapF',
    queues: 1,
    vhost: false,
    up: true,
    carrier: true,
    mtu: 1500,
    vnet_header: true,
    model: 'virtio-net-pci',
  })
  t.regex(String(netdev?.['netns_path']), /^\/proc\/\d+\/ns\/net$/)
})

vmTest('all queues of one are one interface', async (t, { several }) => {
  const [, netdev] = await netdevs('--qmp', several.monitors[0] ?? '')
  t.like(netdev, { id: 'hn0', interface: 'tapG', queues: 2 })
})

vmTest('the table shows it for people', async (t, { passed }) => {
  const { status, stdout, stderr } = await run(TAPFERRY, ['netdevs', '--qmp', passed.monitors[0] ?? ''])
  t.is(status, 0, stderr)
  t.regex(stdout, /^passed: running, pid \d+, --qmp \S+\n {2}NETDEV {2}INTERFACE {2}NETNS {2}.*LINK/)
  t.regex(
    stdout,
    /\n {2}hn0 +tapF +\d+ +up +1500 +1 +off +csum,tso4,tso6 +virtio-net-pci +52:54:00:12:34:56\n$/,
  )
})

vmTest('run finds both ends in their namespace by their ids alone', async (t, { site, passed, plain }) => {
  const ferry = new Running([
    TAPFERRY,
    [
      'run',
      '--in-netdev=hn0',
      '--out-netdev=tapB',
      `--qmp=${passed.monitors[0]}`,
      '--json',
      `--netns=${site.lab.pid}`,
    ],
  ])
  t.teardown(() => ferry.stop('SIGKILL'))
  t.regex(await ferry.ready(), /ready: hn0 \(tapF in \/proc\/\d+\/ns\/net\) -> tapB in \/proc\/\d+\/ns\/net/)
  await site.send('tapF', { count: 200, rate: 1000 })
  await passed.reports(['eth0'], tally => tally.flows[0]?.count === 200)
  t.like(summaryOf(t, await ferry.stop()), { captured: 200, forwarded: 200 })
  exactly(t, (await plain.received('eth0'))[0], [[0, 199]])
})

vmTest('a name that only the VM has an interface of leads to where that is', async (t, { passed }) => {
  const args = [
    '--in-netdev=tapF',
    '--out-netdev=tapF',
    `--qmp=${passed.monitors[0]}`,
    '--queue=rx',
    '--duration=0.1',
  ]
  const { status, stderr } = await run(TAPFERRY, ['run', ...args])
  t.is(status, 0, stderr)
  t.regex(stderr, /ready: tapF in \/proc\/\d+\/ns\/net -> tapF in /)
  const missing = await run(TAPFERRY, ['run', ...args.with(0, '--in-netdev=hn9')])
  t.is(missing.status, 5)
  t.regex(
    missing.stderr,
    /in_netdev 'hn9' not found: neither a netdev of the VM at .* the VM's netdevs are: hn0$/m,
  )
})
