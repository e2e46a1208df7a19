/** `bill outbound` and `bill resend`: what was told to whom, and again. */
import type { Command } from 'commander';
import { type List, type Output, type Paged, pageOf, print, printList, type Row, withJson, withPages } from '../output.ts';
import { callService } from '../service-client.ts';

type Delivery = { endpoint_id: string; status: string; attempts: number; last_error: string | null };
type Event = Row & { deliveries: Delivery[] };

const COLUMNS = ['created_at', 'type', 'organization_id', 'deliveries', 'id'];

export function addOutboundCommands(bill: Command): void {
  withPages(bill.command('outbound').description('outbound events and their deliveries, newest first'))
    .option('--failed', 'only those that an endpoint has not taken')
    .option('--type <type>', 'only of this type')
    .option('--org <id>', 'only of this organization')
    .action(async (options: Paged & { failed?: boolean; type?: string; org?: string }) => {
      const query = { ...pageOf(options), type: options.type, organization_id: options.org, failed: options.failed ? 'true' : undefined };
      const list = await callService<List>('GET', '/api/v1/outbound-events', { query });
      printList(options, options.json ? list : { ...list, data: list.data.map((event) => inWords(event as Event)) }, COLUMNS);
    });

  withJson(bill.command('resend').argument('<event>', 'obe_…').description('deliver an outbound event again, to every endpoint')).action(
    async (id: string, options: Output) => {
      const event = await callService<Event>('POST', `/api/v1/outbound-events/${encodeURIComponent(id)}/resend`);
      print(options, event, () => `${id} is sent again to ${event.deliveries.map(({ endpoint_id }) => endpoint_id).join(', ')}`);
    },
  );
}

function inWords(event: Event): Row {
  const words = event.deliveries.map(({ endpoint_id, status, attempts, last_error }) =>
    [`${endpoint_id} ${status}`, attempts > 1 && `after ${attempts} attempts`, last_error].filter(Boolean).join(', '),
  );
  return { ...event, deliveries: words.join('; ') || '-' };
}
