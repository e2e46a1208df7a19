/** What happens to one team in LiteLLM without us: it spends, somebody edits its budget, LiteLLM is restored. */
import axios from 'axios';
import type { Deeds } from './deeds.ts';
import type { Environment } from './environment.ts';

export type Team = { max_budget: number | null; spend: number };

export class LitellmSide {
  private readonly environment: Environment;
  private readonly deeds: Deeds;
  private readonly teamId: string;

  constructor(environment: Environment, deeds: Deeds, teamId: string) {
    this.environment = environment;
    this.deeds = deeds;
    this.teamId = teamId;
  }

  /** The team as LiteLLM's database shows it; undefined when it is deleted. */
  async team(): Promise<Team | undefined> {
    const { status, data } = await this.environment.litellm.get('/team/info', { params: { team_id: this.teamId } });
    return status === 200 ? data.team_info : undefined;
  }

  async make(budget: number): Promise<void> {
    await this.environment.litellm.post('/team/new', { team_id: this.teamId, max_budget: budget });
  }

  async spend(dollars: number): Promise<void> {
    this.deeds.crossings++;
    await this.addSpend(dollars);
  }

  /** Spends what is left of the budget, and so much more. */
  async useUp(over: number): Promise<void> {
    const team = await this.team();
    if (team?.max_budget) await this.spend(Math.max(0, team.max_budget - team.spend) + over);
  }

  async edit(by: number | 'unlimited'): Promise<void> {
    const team = await this.team();
    if (!team || team.max_budget === null) return;
    // LiteLLM takes no negative budget.
    if (by !== 'unlimited' && team.max_budget + by < 0) return;
    this.deeds.crossings++;
    if (by !== 'unlimited') this.deeds.given += Math.max(0, by);
    await this.write(by === 'unlimited' ? null : micros(team.max_budget + by));
  }

  async delete(): Promise<void> {
    this.deeds.teamDeleted = true;
    await this.environment.litellm.post('/team/delete', { team_ids: [this.teamId] });
  }

  /** Budget and spend are as they were. What has crossed then crosses again, and is one crossing. */
  async restore(saved: Team): Promise<void> {
    const team = await this.team();
    if (!team) return;
    this.deeds.given += Math.max(0, team.spend - saved.spend) + Math.max(0, (saved.max_budget ?? 0) - (team.max_budget ?? 0));
    if (saved.max_budget !== team.max_budget) await this.write(saved.max_budget);
    await this.addSpend(micros(saved.spend - team.spend));
  }

  private async write(budget: number | null): Promise<void> {
    this.deeds.edits.push(budget);
    await this.environment.litellm.post('/team/update', { team_id: this.teamId, max_budget: budget });
  }

  private async addSpend(dollars: number): Promise<void> {
    await axios.post(
      `${this.environment.litellmServer.url}/_sandbox/teams/${this.teamId}/spend`,
      { amount: dollars },
      { validateStatus: () => true }, // the team may be gone
    );
  }
}

function micros(dollars: number): number {
  return Math.round(dollars * 1e6) / 1e6;
}
